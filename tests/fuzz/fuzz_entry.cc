// What libFuzzer calls; FUZZ_FUNCTION is one of file_fuzz.h.
#include <cstddef>
#include <cstdint>

#include "tests/fuzz/file_fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  nextword::FUZZ_FUNCTION({reinterpret_cast<const char*>(data), size});
  return 0;
}
