// Numbers as people read them. Pure functions.
#ifndef NEXTWORD_TOOLS_COMMANDS_QUANTITY_H_
#define NEXTWORD_TOOLS_COMMANDS_QUANTITY_H_

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"

namespace nextword {

// "1,557,611,200".
std::string WithCommas(int64_t value);

// Three figures and a prefix: Scaled(3.1e9, "B") = "3.10 GB". From 1 on.
std::string Scaled(double value, absl::string_view unit);

// "12.3 us", "4.56 ms", "7.89 s".
std::string Seconds(double seconds);

// Percent(0.123) = "12.3%".
std::string Percent(double share);

}  // namespace nextword

#endif  // NEXTWORD_TOOLS_COMMANDS_QUANTITY_H_
