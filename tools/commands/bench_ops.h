// `nextword bench --what ops`: kernels one by one.
#ifndef NEXTWORD_TOOLS_COMMANDS_BENCH_OPS_H_
#define NEXTWORD_TOOLS_COMMANDS_BENCH_OPS_H_

#include <cstdint>
#include <vector>

#include "autograd/tensor/dtype.h"
#include "tools/commands/bench_report.h"

namespace nextword {

// Kernels at the sizes of GPT-2 124M and of the quick start, each for about
// `seconds`, against what the machine can do: its matmul peak for kernels that
// compute, its memory bandwidth for those that pass over memory once. `tokens`
// is the number of rows; 0 means 1,024 for GPT-2 and 2,048 for the quick start.
BenchReport BenchOps(const std::vector<DType>& dtypes, int64_t tokens,
                     double seconds);

}  // namespace nextword

#endif  // NEXTWORD_TOOLS_COMMANDS_BENCH_OPS_H_
