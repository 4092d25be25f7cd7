// Brings the output of many processes into one, a whole line at a time.
// Say is thread-safe; all else belongs to one thread.
#ifndef NEXTWORD_DISTRIBUTED_LAUNCHER_OUTPUT_MERGER_H_
#define NEXTWORD_DISTRIBUTED_LAUNCHER_OUTPUT_MERGER_H_

#include <poll.h>

#include <cstddef>
#include <functional>
#include <list>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "autograd/base/file.h"
#include "distributed/launcher/child_process.h"
#include "distributed/launcher/line_splitter.h"
#include "distributed/launcher/output_writer.h"

namespace nextword {

// Never waits and keeps a bounded part in memory: while nobody takes what it
// passes on, it reads nothing more, and the processes wait in their writes. All
// of them are read in turn, however much one has to say.
class OutputMerger {
 public:
  // Passes on to the descriptors `output` and `errors`, which it does not own.
  // `on_room` is called, from another thread, when Poll has something new to
  // offer.
  OutputMerger(int output, int errors, std::function<void()> on_room);

  // Reads from `child`, which outlives it or is drained, with `prefix` before
  // every line. Both its streams also go, without prefix, to the end of
  // `log_file` unless that is empty. Error: that cannot be opened.
  absl::Status Add(const ChildProcess* child, const std::string& prefix,
                   const std::string& log_file);

  // Adds to `polled` what may be read now.
  void Poll(std::vector<pollfd>* polled) const;
  // Reads one block of each stream that `polled` says to be readable.
  void Read(const std::vector<pollfd>& polled);

  // Reads what `child`, which has ended, left in its pipes, then forgets it.
  void Drain(const ChildProcess* child);

  // A line of the launcher's own on the error stream.
  void Say(absl::string_view line);

  bool idle() const { return output_.idle() && errors_.idle(); }

 private:
  struct LogFile {
    std::string path;
    FileWriter writer;
    bool failed = false;
  };
  struct Stream {
    const ChildProcess* child;
    int fd;
    OutputWriter* to;
    std::string prefix;
    std::shared_ptr<LogFile> log;
    LineSplitter splitter;
    bool open = true;
  };

  // Reads a block; false: there is none at the moment.
  bool ReadBlock(Stream* stream, size_t* bytes);
  // Passes a stream's bytes on; `last` says that no more will come.
  void Pass(Stream* stream, absl::string_view bytes, bool last);

  OutputWriter errors_;  // Outlives the other, which has complaints for it.
  OutputWriter output_;
  std::list<Stream> streams_;  // The one to be read first comes first.
};

}  // namespace nextword

#endif  // NEXTWORD_DISTRIBUTED_LAUNCHER_OUTPUT_MERGER_H_
