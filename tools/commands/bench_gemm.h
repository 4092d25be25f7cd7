// `nextword bench --what gemm`: matrix products.
#ifndef NEXTWORD_TOOLS_COMMANDS_BENCH_GEMM_H_
#define NEXTWORD_TOOLS_COMMANDS_BENCH_GEMM_H_

#include <cstdint>
#include <vector>

#include "autograd/tensor/dtype.h"
#include "tools/commands/bench_report.h"

namespace nextword {

// Operations per second, the best of many large products on all threads,
// measured for about `seconds` in all.
double MeasureGemmPeak(DType dtype, double seconds);

// GPT-2's products at `tokens` rows, and square ones, for each dtype, each for
// about `seconds`.
BenchReport BenchGemm(const std::vector<DType>& dtypes, int64_t tokens,
                      double seconds);

}  // namespace nextword

#endif  // NEXTWORD_TOOLS_COMMANDS_BENCH_GEMM_H_
