// Drives the rules of a rendezvous with any bytes. With clang, this is a
// libFuzzer target; tests/rendezvous_fuzz_test calls it with its own inputs.
#ifndef NEXTWORD_TESTS_FUZZ_RENDEZVOUS_FUZZ_H_
#define NEXTWORD_TESTS_FUZZ_RENDEZVOUS_FUZZ_H_

#include <cstdint>

#include "absl/strings/string_view.h"

namespace nextword::rendezvous {

// What an input reached.
struct FuzzCounts {
  int64_t operations = 0;
  int64_t started = 0, ended = 0, aborted = 0;  // Generations.
  int64_t refused = 0;                          // Joins.
  int64_t values = 0, missed = 0;               // Answers to Get.
};

// Takes `input` for a series of operations and messages, some as peers that
// behave would send them, some as they come. Aborts when the state breaks a
// promise: an answer that is missing or comes twice, a text that is too long or
// not plain, a member told after its end. Thread-safe.
FuzzCounts DriveRendezvous(absl::string_view input);

}  // namespace nextword::rendezvous

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

#endif  // NEXTWORD_TESTS_FUZZ_RENDEZVOUS_FUZZ_H_
