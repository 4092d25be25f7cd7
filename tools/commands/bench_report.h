// What a benchmark found, for people and for programs.
#ifndef NEXTWORD_TOOLS_COMMANDS_BENCH_REPORT_H_
#define NEXTWORD_TOOLS_COMMANDS_BENCH_REPORT_H_

#include <string>

#include "nlohmann/json.hpp"

namespace nextword {

// Units are in the names of the JSON's fields: seconds, bytes, and operations
// ("flops") or others a second ("per_second"). Times are wall-clock times.
struct BenchReport {
  std::string text;             // Tables; ends in a line feed.
  nlohmann::ordered_json json;  // An object with the same numbers, and more.
};

}  // namespace nextword

#endif  // NEXTWORD_TOOLS_COMMANDS_BENCH_REPORT_H_
