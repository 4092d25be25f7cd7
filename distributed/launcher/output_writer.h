// Writes to a file, a pipe or a terminal on behalf of a thread that must not
// wait for it. Thread-safe.
#ifndef NEXTWORD_DISTRIBUTED_LAUNCHER_OUTPUT_WRITER_H_
#define NEXTWORD_DISTRIBUTED_LAUNCHER_OUTPUT_WRITER_H_

#include <cstddef>
#include <functional>
#include <memory>
#include <string>

#include "absl/strings/string_view.h"

namespace nextword {

// Writes from a thread of its own, in order.
class OutputWriter {
 public:
  // Beyond so many bytes that wait, it is full.
  static constexpr size_t kCapacity = size_t{256} << 10;

  // Does not own `fd`. Calls `on_room` when it is full no longer, and when all
  // is written. What a reader that has gone, or a full disk, does not take is
  // dropped; `on_loss` is called for the first, with the reason, in which
  // `name` stands for the file. Both are called from its thread and must not
  // use this object.
  OutputWriter(int fd, std::string name, std::function<void()> on_room,
               std::function<void(const std::string& reason)> on_loss);
  // Waits for nothing; what is not written by then is lost.
  ~OutputWriter();
  OutputWriter(const OutputWriter&) = delete;
  OutputWriter& operator=(const OutputWriter&) = delete;

  // Never waits, nor refuses: to look at full() is up to the caller.
  void Append(absl::string_view text);

  bool full() const;
  bool idle() const;  // All is written.

 private:
  struct State;

  // Shared with the thread, which may hang in the system for ever.
  const std::shared_ptr<State> state_;
};

}  // namespace nextword

#endif  // NEXTWORD_DISTRIBUTED_LAUNCHER_OUTPUT_WRITER_H_
