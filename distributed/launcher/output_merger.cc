#include "distributed/launcher/output_merger.h"

#include <unistd.h>

#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "autograd/base/status.h"

namespace nextword {
namespace {

constexpr size_t kBlock = size_t{64} << 10;
// What the pipe of a process that has ended can hold at most; a child of its
// own may go on writing to it for ever.
constexpr size_t kMaxLeft = size_t{1} << 20;

}  // namespace

OutputMerger::OutputMerger(int output, int errors,
                           std::function<void()> on_room)
    : errors_(errors, "standard error", on_room, [](const std::string&) {}),
      output_(output, "standard output", on_room,
              [this](const std::string& reason) {
                Say(absl::StrCat("[launcher] ", reason,
                                 "; what ranks write there is lost"));
              }) {}

absl::Status OutputMerger::Add(const ChildProcess* child,
                               const std::string& prefix,
                               const std::string& log_file) {
  std::shared_ptr<LogFile> log;
  if (!log_file.empty()) {
    NW_ASSIGN_OR_RETURN(FileWriter writer, FileWriter::OpenToAppend(log_file));
    log = std::make_shared<LogFile>(LogFile{log_file, std::move(writer)});
  }
  const auto add = [&](const FileDescriptor& fd, OutputWriter* to) {
    streams_.push_back({child, fd.get(), to, prefix, log, LineSplitter()});
  };
  add(child->output(), &output_);
  add(child->errors(), &errors_);
  return absl::OkStatus();
}

void OutputMerger::Poll(std::vector<pollfd>* polled) const {
  for (const Stream& stream : streams_) {
    if (stream.open && !stream.to->full()) {
      polled->push_back({stream.fd, POLLIN, 0});
    }
  }
}

void OutputMerger::Read(const std::vector<pollfd>& polled) {
  for (Stream& stream : streams_) {
    // What was read before may have filled it.
    if (!stream.open || stream.to->full()) continue;
    for (const pollfd& p : polled) {
      if (p.fd != stream.fd || p.revents == 0) continue;
      size_t bytes;
      ReadBlock(&stream, &bytes);
    }
  }
  if (!streams_.empty()) {
    streams_.splice(streams_.end(), streams_, streams_.begin());
  }
}

void OutputMerger::Drain(const ChildProcess* child) {
  for (Stream& stream : streams_) {
    if (stream.child != child) continue;
    size_t left = 0, bytes = 0;
    while (stream.open && left < kMaxLeft && ReadBlock(&stream, &bytes)) {
      left += bytes;
    }
    if (stream.open) Pass(&stream, "", true);
  }
  streams_.remove_if([&](const Stream& s) { return s.child == child; });
}

void OutputMerger::Say(absl::string_view line) {
  errors_.Append(absl::StrCat(line, "\n"));
}

bool OutputMerger::ReadBlock(Stream* stream, size_t* bytes) {
  char block[kBlock];
  const ssize_t n = read(stream->fd, block, sizeof(block));
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return false;
  *bytes = n > 0 ? n : 0;
  if (n <= 0) stream->open = false;
  Pass(stream, absl::string_view(block, *bytes), n <= 0);
  return true;
}

void OutputMerger::Pass(Stream* stream, absl::string_view bytes, bool last) {
  std::string lines, logged;
  const auto take = [&](absl::string_view line) {
    absl::StrAppend(&lines, stream->prefix, line, "\n");
    if (stream->log != nullptr) absl::StrAppend(&logged, line, "\n");
  };
  stream->splitter.Add(bytes, take);
  if (last) stream->splitter.Finish(take);
  if (lines.empty()) return;
  stream->to->Append(lines);
  LogFile* const log = stream->log.get();
  if (log == nullptr || log->failed) return;
  absl::Status status = log->writer.Append(logged);
  if (status.ok()) status = log->writer.Flush();
  if (status.ok()) return;
  log->failed = true;
  Say(absl::StrCat("[launcher] ", status.message(),
                   "; that rank's log file ends here"));
}

}  // namespace nextword
