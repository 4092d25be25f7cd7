// Text for tests, made at run time, and folders to put it in.
#ifndef NEXTWORD_TESTS_TESTING_TEXT_H_
#define NEXTWORD_TESTS_TESTING_TEXT_H_

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"

namespace nextword {

// About `bytes` bytes of lines that look like prose to a tokenizer: words of a
// random vocabulary by Zipf's law, with capitals, contractions, punctuation,
// numbers and characters beyond ASCII. A function of the arguments.
std::string RandomText(uint64_t seed, size_t bytes);

// `length` draws from fragments that are hard to split: runs of white space of
// several kinds, apostrophes, digits, letters beyond ASCII, broken UTF-8.
std::string RandomFragments(uint64_t seed, size_t length);

// An empty folder of this name for this test, without a slash at the end.
std::string FreshDirectory(absl::string_view name);

// Writes a file in place; aborts when it cannot.
void WriteTestFile(const std::string& path, absl::string_view contents);

}  // namespace nextword

#endif  // NEXTWORD_TESTS_TESTING_TEXT_H_
