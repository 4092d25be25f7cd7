// Eight-bit floats on a GPU, real or emulated, against the CPU's.
#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "autograd/kernels/kernels.h"
#include "tests/testing.h"
#include "tests/testing_cuda.h"

namespace nextword {
namespace {

class CudaQuantizeTest : public CudaTest {};

// x in eight bits by the scale of its largest element: the scale, the largest
// magnitude, the sum of rows, values and, with `transpose`, their transpose.
std::vector<Tensor> Quantized(const Tensor& x, DType dtype, bool transpose) {
  const Device device = x.device();
  Tensor scale = Empty({1}, DType::kF32, device);
  kernels::quantization_scale(x, dtype, &scale);
  Tensor values = Empty(x.shape(), dtype, device), transposed;
  if (transpose) transposed = Empty({x.dim(1), x.dim(0)}, dtype, device);
  Tensor largest = Zeros({1}, DType::kF32, device);
  Tensor sum = Empty({x.dim(1)}, DType::kF32, device);
  kernels::quantize(x, scale, &values, &transposed, &largest, &sum);
  std::vector<Tensor> all = {scale, largest, sum, values};
  if (transpose) all.push_back(transposed);
  return all;
}

// All but the sum, whose order differs.
void ExpectNear(const std::vector<Tensor>& got,
                const std::vector<Tensor>& wanted) {
  ASSERT_EQ(got.size(), wanted.size());
  for (size_t i = 0; i < wanted.size(); ++i) {
    if (i == 2) {
      EXPECT_THAT(got[i], IsNear(wanted[i], 1e-5));
    } else {
      EXPECT_THAT(got[i], HasBitsOf(wanted[i])) << i;
    }
  }
}

void ExpectSameBits(const std::vector<Tensor>& got,
                    const std::vector<Tensor>& wanted) {
  ASSERT_EQ(got.size(), wanted.size());
  for (size_t i = 0; i < wanted.size(); ++i) {
    EXPECT_THAT(got[i], HasBitsOf(wanted[i])) << i;
  }
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
          ExpectNear(got, wanted);
          ExpectSameBits(again, got);
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
    ExpectNear(got, wanted);
    ExpectSameBits(
        got, Quantized(Copy(x.View(1, {64, 68})), DType::kE4M3, transpose));
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
      for (const int i : {0, 1, 3, 4}) {
        EXPECT_THAT(got[i], HasBitsOf(wanted[i])) << last;
      }
    }
  }
}

// What is computed on the way is that of f32 kernels, to the bit.
TEST_F(CudaQuantizeTest, RoundsGeluTanhOnTheWay) {
  const DType to = DType::kE5M2;
  for (const DType from : {DType::kF32, DType::kBF16}) {
    for (const Shape& shape :
         {Shape({0, 3}), Shape({5, 7}), Shape({64, 64}), Shape({132, 68})}) {
      SCOPED_TRACE(::testing::Message() << from << shape);
      const auto random = [&](uint64_t seed) {
        return Copy(Cast(RandomNormal(shape, seed, DType::kF32), from));
      };
      const Tensor pre = random(1), dy = random(2);
      const Tensor wide_pre = Cast(pre, DType::kF32);
      Tensor post = EmptyLike(wide_pre), dpre = EmptyLike(wide_pre);
      kernels::gelu_tanh(wide_pre, &post);
      kernels::gelu_tanh_grad(wide_pre, Cast(dy, DType::kF32), &dpre);
      const std::vector<Tensor> wanted = Quantized(post, to, true);
      const std::vector<Tensor> wanted_grad = Quantized(dpre, to, true);
      const auto places = [&](const Tensor& scale) {
        return std::vector<Tensor>{
            scale, Zeros({1}, DType::kF32, pre.device()),
            Empty({shape[1]}, DType::kF32, pre.device()),
            Empty(shape, to, pre.device()),
            Empty({shape[1], shape[0]}, to, pre.device())};
      };
      std::vector<Tensor> got = places(wanted[0]);
      kernels::quantize_gelu_tanh(pre, got[0], &got[3], &got[4], &got[1]);
      got[2] = wanted[2];  // It has no sum.
      ExpectSameBits(got, wanted);
      got = places(wanted_grad[0]);
      kernels::quantize_gelu_tanh_grad(pre, dy, got[0], &got[3], &got[4],
                                       &got[1], &got[2]);
      ExpectSameBits(got, wanted_grad);
    }
  }
}

// Of several calls.
TEST_F(CudaQuantizeTest, KeepsTheLargestOfAll) {
  const Tensor scale = Copy(FromVector<float>({1}, {1}));
  Tensor largest = Copy(FromVector<float>({0}, {1})), none;
  Tensor y = Empty({1, 2}, DType::kE4M3, largest.device());
  float wanted = 0;
  for (const float x : {1.0f, -3.0f, 2.0f, -1e30f}) {
    const Tensor both = Copy(FromVector<float>({x, 0}, {1, 2}));
    kernels::quantize(both, scale, &y, &none, &largest, &none);
    wanted = std::max(wanted, std::abs(x));
    EXPECT_EQ(ToVector<float>(largest)[0], wanted);
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
          kernels::matmul_quantized(a[3], a[0], b[3], b[0], with,
                                    add ? y : Tensor(), &y);
          kernels::matmul_quantized(Copy(a[3]), Copy(a[0]), Copy(b[3]),
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
