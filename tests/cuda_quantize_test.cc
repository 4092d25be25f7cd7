// Eight-bit floats on a GPU, real or emulated, against the CPU's.
#include <cmath>
#include <limits>
#include <vector>

#include "autograd/kernels/kernels.h"
#include "tests/testing.h"
#include "tests/testing_cuda.h"

namespace nextword {
namespace {

class CudaQuantizeTest : public CudaTest {};

// x in eight bits: scale, values, transpose.
std::vector<Tensor> Quantized(const Tensor& x, DType dtype, bool transpose) {
  const Device device = x.device();
  Tensor scale = Empty({1}, DType::kF32, device);
  Tensor values = Empty(x.shape(), dtype, device), transposed;
  if (transpose) transposed = Empty({x.dim(1), x.dim(0)}, dtype, device);
  kernels::quantize(x, &scale, &values, &transposed);
  if (!transpose) transposed = values;
  return {scale, values, transposed};
}

TEST_F(CudaQuantizeTest, QuantizesAsTheCpu) {
  for (const DType from : {DType::kF32, DType::kBF16}) {
    for (const DType to : {DType::kE4M3, DType::kE5M2}) {
      for (const Shape& shape :
           {Shape({0, 3}), Shape({1, 1}), Shape({5, 7}), Shape({64, 64}),
            Shape({68, 132}), Shape({16, 1000}), Shape({131, 66})}) {
        SCOPED_TRACE(::testing::Message() << from << to << shape);
        Tensor x = Cast(RandomNormal(shape, 1, DType::kF32), from);
        for (const bool transpose : {false, true}) {
          const std::vector<Tensor> wanted = Quantized(x, to, transpose);
          const std::vector<Tensor> got = Quantized(Copy(x), to, transpose);
          const OtherThreadOrder scope;
          const std::vector<Tensor> again = Quantized(Copy(x), to, transpose);
          for (size_t i = 0; i < wanted.size(); ++i) {
            EXPECT_THAT(got[i], HasBitsOf(wanted[i])) << i;
            EXPECT_THAT(again[i], HasBitsOf(wanted[i])) << i;
          }
        }
      }
    }
  }
}

// Neither by packs nor in squares, from memory that begins anywhere.
TEST_F(CudaQuantizeTest, QuantizesFromAnywhere) {
  const Tensor x = RandomNormal({1 + 64 * 68}, 1, DType::kF32);
  const Tensor on_gpu = Copy(x);
  for (const bool transpose : {false, true}) {
    const std::vector<Tensor> wanted =
        Quantized(x.View(1, {64, 68}), DType::kE4M3, transpose);
    const std::vector<Tensor> got =
        Quantized(on_gpu.View(1, {64, 68}), DType::kE4M3, transpose);
    for (size_t i = 0; i < wanted.size(); ++i) {
      EXPECT_THAT(got[i], HasBitsOf(wanted[i]));
    }
  }
}

TEST_F(CudaQuantizeTest, RoundsWhatIsSpecialAsTheCpu) {
  const float infinity = std::numeric_limits<float>::infinity();
  // With 448, e4m3 keeps these as they are: ties, what is between, tiny ones.
  const std::vector<float> numbers = {448,     -0.0f,   1.0625f, 1.1875f, 1.06f,
                                      0.0136f, 0.0029f, 0.001f,  -3e-5f,  0};
  for (const float last : {0.0f, infinity, -infinity, std::nanf("")}) {
    for (const DType to : {DType::kE4M3, DType::kE5M2}) {
      std::vector<float> elements = numbers;
      elements.push_back(last);
      const Tensor x = FromVector(elements, {1, 11});
      const auto wanted = Quantized(x, to, true);
      const auto got = Quantized(Copy(x), to, true);
      EXPECT_THAT(got[1], HasBitsOf(wanted[1])) << last;
      EXPECT_THAT(got[2], HasBitsOf(wanted[2])) << last;
      EXPECT_THAT(got[0], HasBitsOf(wanted[0])) << last;
    }
  }
}

TEST_F(CudaQuantizeTest, MultipliesEightBitFloats) {
  const Tensor bias = RandomNormal({48}, 3, DType::kF32);
  for (const DType of_a : {DType::kE4M3, DType::kE5M2}) {
    const auto a =
        Quantized(RandomNormal({32, 64}, 1, DType::kF32), of_a, true);
    const auto b =
        Quantized(RandomNormal({48, 64}, 2, DType::kF32), DType::kE4M3, true);
    for (const DType result : {DType::kF32, DType::kBF16}) {
      for (const Tensor& with : {Tensor(), bias}) {
        for (const bool add : {false, true}) {
          Tensor y = Cast(RandomNormal({32, 48}, 4, DType::kF32), result);
          Tensor on_gpu = Copy(y);
          kernels::matmul_quantized(a[1], a[0], b[1], b[0], with,
                                    add ? y : Tensor(), &y);
          kernels::matmul_quantized(Copy(a[1]), Copy(a[0]), Copy(b[1]),
                                    Copy(b[0]),
                                    with.defined() ? Copy(with) : with,
                                    add ? on_gpu : Tensor(), &on_gpu);
          // Of a bias and a result in bf16.
          EXPECT_THAT(on_gpu, IsNear(y, 1e-2));
        }
      }
    }
  }
}

}  // namespace
}  // namespace nextword
