// Kernels of whole rows, norms and losses, on a GPU, real or emulated.
#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "autograd/kernels/kernels.h"
#include "tests/testing.h"
#include "tests/testing_cuda.h"

namespace nextword {
namespace {

class CudaRowsTest : public CudaTest {};

// Whether a norm adds to what the stream has brought, or the engine does.
TEST_F(CudaRowsTest, NormsAddAsAccumulateDoes) {
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    for (const int64_t columns : {33, 264, 1032}) {
      const Shape shape({70, columns});
      const Tensor x = Copy(RandomNormal(shape, 1, dtype));
      const Tensor dy = Copy(RandomNormal(shape, 2, dtype));
      const Tensor weight = Copy(RandomNormal({columns}, 3, DType::kF32));
      Tensor y = EmptyLike(x), mean = Copy(Zeros({70}, DType::kF32));
      Tensor rstd = EmptyLike(mean), dx = EmptyLike(x), rounded;
      Tensor dparameters = Copy(Zeros({2, columns}, DType::kF32));
      kernels::layer_norm(x, weight, {}, 1e-5, &y, &mean, &rstd);
      Tensor apart = Copy(RandomNormal(shape, 4, dtype));
      Tensor at_once = Clone(apart);
      kernels::layer_norm_grad(x, weight, mean, rstd, dy, false, &dx, &rounded,
                               &dparameters);
      kernels::accumulate(dx, &apart);
      const bool wide = dtype == DType::kF32;
      if (wide) rounded = Copy(Zeros(shape, DType::kBF16));
      kernels::layer_norm_grad(x, weight, mean, rstd, dy, true, &at_once,
                               &rounded, &dparameters);
      EXPECT_THAT(at_once, HasBitsOf(apart)) << dtype << " " << columns;
      if (!wide) continue;
      EXPECT_THAT(rounded, HasBitsOf(Cast(apart, DType::kBF16))) << columns;
    }
  }
}

// As the CPU has it: what is not finite shows in the loss.
TEST_F(CudaRowsTest, LossesOfLogitsThatAreNotFinite) {
  const float infinity = std::numeric_limits<float>::infinity();
  for (const float bad : {-infinity, infinity, std::nanf("")}) {
    for (const int count : {1, 10}) {  // Of 10.
      std::vector<float> row = {1, 2, 3, 4, 5, 6, 7, 8, 9, 0};
      std::fill_n(row.begin() + (count == 1 ? 3 : 0), count, bad);
      const Tensor logits = FromVector(row, {1, 10});
      const Tensor ids = FromVector<int32_t>({4}, {1});
      Tensor losses = Empty({1}, DType::kF32), lse = EmptyLike(losses);
      kernels::cross_entropy(logits, ids, &losses, &lse);
      Tensor on_gpu = Copy(losses), lse_on_gpu = Copy(lse);
      kernels::cross_entropy(Copy(logits), Copy(ids), &on_gpu, &lse_on_gpu);
      const float wanted = ToVector<float>(losses)[0];
      const float got = ToVector<float>(on_gpu)[0];
      if (std::isfinite(wanted)) {
        EXPECT_NEAR(got, wanted, 1e-5) << bad << " " << count;
      } else {
        EXPECT_FALSE(std::isfinite(got)) << bad << " " << count;
      }
    }
  }
}

}  // namespace
}  // namespace nextword
