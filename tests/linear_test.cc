// The linear kernel where it is cut into blocks: sizes around the edges of
// panels, strips and blocks, against the plain loops of f64; and bits that do
// not depend on how many rows or threads there are.
#include <string>
#include <utility>

#include "autograd/base/parallel.h"
#include "autograd/kernels/kernels.h"
#include "tests/testing.h"

namespace nextword {
namespace {

struct Inputs {
  Tensor x, w, bias, residual;
};

Inputs Make(int64_t m, int64_t n, int64_t k, DType dtype) {
  return {RandomNormal({m, k}, 1, dtype), RandomNormal({n, k}, 2, dtype),
          RandomNormal({n}, 3, dtype), RandomNormal({m, n}, 4, dtype)};
}

Tensor Linear(const Inputs& in) {
  Tensor y = Empty({in.x.dim(0), in.w.dim(0)}, in.x.dtype());
  kernels::linear(in.x, in.w, in.bias, in.residual, &y);
  return y;
}

void ExpectBlocksDoNotShow(int64_t m, int64_t n, int64_t k) {
  SCOPED_TRACE(std::to_string(m) + " x " + std::to_string(n) + " x " +
               std::to_string(k));
  const Inputs wide = Make(m, n, k, DType::kF64);
  const Inputs in = {Cast(wide.x, DType::kF32), Cast(wide.w, DType::kF32),
                     Cast(wide.bias, DType::kF32),
                     Cast(wide.residual, DType::kF32)};
  for (const auto& [bias, residual] :
       {std::pair(true, true), std::pair(true, false), std::pair(false, true),
        std::pair(false, false)}) {
    SCOPED_TRACE("bias " + std::to_string(bias) + ", residual " +
                 std::to_string(residual));
    const auto pick = [&, bias = bias, residual = residual](const Inputs& all) {
      return Linear({all.x, all.w, bias ? all.bias : Tensor(),
                     residual ? all.residual : Tensor()});
    };
    EXPECT_THAT(pick(in), IsNear(pick(wide), 3e-6));
  }
}

TEST(LinearKernelTest, Rows) {
  for (int64_t m : {1, 63, 64, 65, 66, 67, 69, 70, 71, 128, 1023, 1025, 2050}) {
    ExpectBlocksDoNotShow(m, 66, 17);
  }
}

TEST(LinearKernelTest, Columns) {
  for (int64_t n :
       {1, 2, 15, 16, 17, 63, 64, 65, 127, 129, 191, 192, 193, 400}) {
    ExpectBlocksDoNotShow(70, n, 36);
  }
}

TEST(LinearKernelTest, Depths) {
  for (int64_t k :
       {0, 1, 2, 3, 4, 5, 63, 64, 65, 66, 127, 767, 768, 769, 1537, 3072}) {
    ExpectBlocksDoNotShow(66, 68, k);
  }
}

// A row's result is the same among 64 rows, among 1,500, on one thread, on
// three.
TEST(LinearKernelTest, BitsDependOnTheRowAlone) {
  const Inputs in = Make(1500, 200, 900, DType::kF32);
  const int threads = NumThreads();
  SetNumThreads(1);
  const Tensor y = Linear(in);
  SetNumThreads(3);
  EXPECT_THAT(Linear(in), HasBitsOf(y));
  for (const auto& [begin, end] :
       {std::pair<int64_t, int64_t>(0, 64), std::pair<int64_t, int64_t>(7, 200),
        std::pair<int64_t, int64_t>(1001, 1500)}) {
    EXPECT_THAT(Linear({in.x.Rows(begin, end), in.w, in.bias,
                        in.residual.Rows(begin, end)}),
                HasBitsOf(y.Rows(begin, end)));
  }
  SetNumThreads(threads);
}

}  // namespace
}  // namespace nextword
