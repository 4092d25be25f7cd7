// XXH3, 64 bits: checksums of files and fingerprints of contents.
#ifndef NEXTWORD_AUTOGRAD_BASE_HASH_H_
#define NEXTWORD_AUTOGRAD_BASE_HASH_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/strings/string_view.h"

namespace nextword {

uint64_t Hash64(absl::string_view bytes);

// A hash as text: 16 hexadecimal digits.
std::string HexDigits(uint64_t hash);

// The hash of a stream of bytes: equal to Hash64 of them all at once.
class StreamHash {
 public:
  StreamHash();
  ~StreamHash();
  void Update(absl::string_view bytes);
  uint64_t Digest() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace nextword

#endif  // NEXTWORD_AUTOGRAD_BASE_HASH_H_
