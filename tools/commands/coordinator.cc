#include "tools/commands/coordinator.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "autograd/base/file.h"
#include "autograd/base/status.h"
#include "distributed/launcher/environment.h"
#include "distributed/launcher/file_descriptor.h"
#include "distributed/launcher/monotonic_clock.h"
#include "distributed/launcher/signals.h"
#include "distributed/launcher/token.h"
#include "distributed/rendezvous/coordinator.h"
#include "tools/commands/coordinator_options.h"
#include "tools/commands/example.h"

namespace nextword {
namespace {

// For ranks of other nodes to leave once those of the launcher's have.
constexpr absl::Duration kLastGrace = absl::Seconds(50);

struct Options {
  CoordinatorOptions coordinator;
  std::string listen = "127.0.0.1:0";
  int world_size = 1;
  std::string run_id;
  std::string token_file;
  int control_fd = -1;
};

// Watches how generations end, from a thread of its own.
class Watch {
 public:
  // `coordinator` outlives it.
  static absl::StatusOr<std::unique_ptr<Watch>> Start(
      Coordinator* coordinator) {
    FileDescriptor event(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!event.is_open()) return FileError("an event", "open");
    return std::unique_ptr<Watch>(new Watch(coordinator, std::move(event)));
  }
  ~Watch() {
    coordinator_->Stop();
    thread_.join();
  }

  int fd() const { return event_.get(); }
  bool last_ended_in_order() const { return last_ended_in_order_; }

 private:
  Watch(Coordinator* coordinator, FileDescriptor event)
      : coordinator_(coordinator),
        event_(std::move(event)),
        thread_([this] { Run(); }) {}

  void Run() {
    for (;;) {
      const absl::Status ended = coordinator_->Wait();
      if (absl::IsCancelled(ended)) return;
      last_ended_in_order_ = ended.ok();
      const uint64_t one = 1;
      [[maybe_unused]] const ssize_t n = write(event_.get(), &one, sizeof(one));
    }
  }

  Coordinator* const coordinator_;
  const FileDescriptor event_;
  std::atomic<bool> last_ended_in_order_ = false;
  std::thread thread_;
};

// Until the launcher behind `control` lets it end, or, without one (-1), until
// a signal, which is returned.
absl::StatusOr<int> Serve(Coordinator* coordinator, SignalReader* signals,
                          int control) {
  NW_ASSIGN_OR_RETURN(const std::unique_ptr<Watch> watch,
                      Watch::Start(coordinator));
  std::string said;
  std::optional<absl::Time> end_by;
  for (;;) {
    pollfd polled[] = {{signals->fd(), POLLIN, 0},
                       {watch->fd(), POLLIN, 0},
                       {end_by.has_value() ? -1 : control, POLLIN, 0}};
    const absl::Duration left =
        end_by.has_value() ? *end_by - MonotonicNow() : absl::Hours(1);
    if (left <= absl::ZeroDuration()) return 0;
    poll(polled, 3, static_cast<int>(absl::ToInt64Milliseconds(left)) + 1);
    while (const std::optional<int> signal = signals->Next()) {
      // Schedulers send signals to all processes of a job; with a launcher, it
      // is for the launcher to say when the job is over.
      if (control < 0 && *signal != SIGCHLD) return *signal;
    }
    uint64_t events;
    [[maybe_unused]] const ssize_t taken =
        read(watch->fd(), &events, sizeof(events));
    if (polled[2].revents != 0) {
      char block[64];
      const ssize_t n = read(control, block, sizeof(block));
      if (n > 0) {
        said.append(block, std::min<ssize_t>(n, 64));
        if (said.size() > sizeof(block)) said.resize(sizeof(block));
      } else if (n == 0 || (errno != EINTR && errno != EAGAIN)) {
        if (!absl::StartsWith(said, "done\n")) return 0;
        end_by = MonotonicNow() + kLastGrace;
      }
    }
    if (end_by.has_value() && watch->last_ended_in_order()) return 0;
  }
}

absl::Status Coordinate(const Options& options, int* exit_code) {
  // Before the server starts its threads.
  NW_ASSIGN_OR_RETURN(const std::unique_ptr<SignalReader> signals,
                      SignalReader::Create());
  const EnvironmentMap environment = CurrentEnvironment();
  if (options.token_file.empty() && !environment.contains("NEXTWORD_TOKEN")) {
    return absl::InvalidArgumentError(
        "--token-file: not given, and the variable NEXTWORD_TOKEN is not set; "
        "wanted the job's token in one of the two");
  }
  NW_ASSIGN_OR_RETURN(Coordinator::Options resolved,
                      options.coordinator.Resolve());
  NW_ASSIGN_OR_RETURN(resolved.token,
                      JobToken(options.token_file, environment));
  resolved.listen = options.listen;
  resolved.world_size = options.world_size;
  resolved.run_id = options.run_id;
  NW_ASSIGN_OR_RETURN(const std::unique_ptr<Coordinator> coordinator,
                      Coordinator::Start(resolved));
  const std::string address = absl::StrCat(coordinator->address(), "\n");
  const int out = options.control_fd < 0 ? STDOUT_FILENO : options.control_fd;
  if (write(out, address.data(), address.size()) !=
      static_cast<ssize_t>(address.size())) {
    return FileError("the coordinator's address", "write");
  }
  NW_ASSIGN_OR_RETURN(const int signal, Serve(coordinator.get(), signals.get(),
                                              options.control_fd));
  if (signal != 0) *exit_code = 128 + signal;
  return absl::OkStatus();
}

}  // namespace

void AddCoordinatorCommand(CLI::App& app, absl::Status* status,
                           int* exit_code) {
  CLI::App* command = app.add_subcommand(
      "coordinator",
      "The server that the ranks of a job meet at; `nextword launch` starts "
      "it.");
  command->group("");  // Not in the help.
  ShowExample(*command,
              "NEXTWORD_TOKEN=... nextword coordinator --world-size 8 --run-id "
              "my_job --listen 10.0.0.1:29400");
  auto options = std::make_shared<Options>();
  command
      ->add_option("--listen", options->listen,
                   "Where to listen, and nowhere else; port 0 for a free one")
      ->type_name("HOST:PORT")
      ->capture_default_str();
  command->add_option("--world-size", options->world_size, "Ranks of the job")
      ->required()
      ->check(CLI::Range(1, 4096));
  command->add_option("--run-id", options->run_id, "The job's name")
      ->required();
  command
      ->add_option("--token-file", options->token_file,
                   "A file with the job's token; if not given, it is in the "
                   "variable NEXTWORD_TOKEN")
      ->type_name("FILE");
  command
      ->add_option("--control-fd", options->control_fd,
                   "The socket of the launcher, which hears the address, and "
                   "whose end is the coordinator's")
      ->check(CLI::Range(3, 1 << 20));
  options->coordinator.AddTo(*command);
  command->callback([options, status, exit_code] {
    *status = Coordinate(*options, exit_code);
  });
}

}  // namespace nextword
