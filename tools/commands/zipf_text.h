// Text by Zipf's law: the r-th most frequent word makes up about 1 / r of it.
#ifndef NEXTWORD_TOOLS_COMMANDS_ZIPF_TEXT_H_
#define NEXTWORD_TOOLS_COMMANDS_ZIPF_TEXT_H_

#include <cstdint>
#include <string>

namespace nextword {

// About `bytes` bytes of lines of made-up words with capitals, numbers and
// punctuation. A function of its arguments.
std::string ZipfText(uint64_t seed, int64_t bytes);

}  // namespace nextword

#endif  // NEXTWORD_TOOLS_COMMANDS_ZIPF_TEXT_H_
