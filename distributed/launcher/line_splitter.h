// Cuts what a process writes into lines. Not thread-safe.
#ifndef NEXTWORD_DISTRIBUTED_LAUNCHER_LINE_SPLITTER_H_
#define NEXTWORD_DISTRIBUTED_LAUNCHER_LINE_SPLITTER_H_

#include <cstddef>
#include <string>

#include "absl/functional/function_ref.h"
#include "absl/strings/string_view.h"

namespace nextword {

class LineSplitter {
 public:
  static constexpr size_t kMaxLine = size_t{64} << 10;

  // Takes a line without its newline; the text lives during the call.
  using LineFunction = absl::FunctionRef<void(absl::string_view line)>;

  // The next bytes of the stream: calls `f` for each line that is complete. A
  // line of more than kMaxLine bytes comes in pieces of at most that.
  void Add(absl::string_view bytes, LineFunction f);

  // The end of the stream, which may not have ended its last line.
  void Finish(LineFunction f);

 private:
  std::string line_;  // Begun.
};

}  // namespace nextword

#endif  // NEXTWORD_DISTRIBUTED_LAUNCHER_LINE_SPLITTER_H_
