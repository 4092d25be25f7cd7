// Rounding to eight-bit floats.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "autograd/kernels/cpu/quantize.cc"
#include "hwy/foreach_target.h"

#include <algorithm>
#include <bit>
#include <vector>

#include "autograd/kernels/composed.h"
#include "autograd/kernels/cpu/loops.h"
#include "autograd/kernels/cpu/register.h"
#include "autograd/kernels/quantization.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace nextword::kernels {
namespace HWY_NAMESPACE {

template <typename T>
uint32_t LargestMagnitude(const T* x, int64_t n) {
  uint32_t largest = 0;
  for (int64_t i = 0; i < n; ++i) {
    largest = std::max(largest, MagnitudeBits(static_cast<float>(x[i])));
  }
  return largest;
}

template <typename T>
uint32_t LargestOf(In x) {
  const T* const px = x.data<T>();
  std::vector<uint32_t> largest(NumChunks(x.numel(), kChunk), 0);
  ParallelFor(x.numel(), kChunk, [&](int64_t begin, int64_t end) {
    largest[begin / kChunk] = LargestMagnitude(px + begin, end - begin);
  });
  return largest.empty() ? 0
                         : *std::max_element(largest.begin(), largest.end());
}

uint32_t LargestOf(In x) {
  return x.dtype() == DType::kF32 ? LargestOf<float>(x)
                                  : LargestOf<BFloat16>(x);
}

void FindQuantizationScale(In x, DType to, Out scale) {
  *scale->data<float>() = QuantizationScale(LargestOf(x), LargestNumber(to));
}

template <typename T, typename U>
void QuantizeRange(const T* __restrict x, float inverse, U* __restrict y,
                   int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    y[i] = U(static_cast<float>(x[i]) * inverse);
  }
}

// In squares that stay in the cache.
void TransposeBytes(const uint8_t* x, int64_t rows, int64_t columns,
                    uint8_t* y) {
  constexpr int64_t kSquare = 64;
  ParallelFor(columns, kSquare, [=](int64_t begin, int64_t end) {
    for (int64_t first = 0; first < rows; first += kSquare) {
      const int64_t last = std::min(rows, first + kSquare);
      for (int64_t column = begin; column < end; ++column) {
        for (int64_t row = first; row < last; ++row) {
          y[column * rows + row] = x[row * columns + column];
        }
      }
    }
  });
}

template <typename T, typename U>
void QuantizeAs(In x, In scale, Out y) {
  const float inverse = 1 / *scale.data<float>();
  const T* const px = x.data<T>();
  U* const py = y->data<U>();
  ParallelFor(x.numel(), kChunk, [=](int64_t begin, int64_t end) {
    QuantizeRange(px + begin, inverse, py + begin, end - begin);
  });
}

void Quantize(In x, In scale, Out y, Out yt, Out largest, Out sum) {
  DispatchFloat8(y->dtype(), "quantize", [&](auto to) {
    if (x.dtype() == DType::kF32) {
      QuantizeAs<float, decltype(to)>(x, scale, y);
    } else {
      QuantizeAs<BFloat16, decltype(to)>(x, scale, y);
    }
  });
  if (yt->defined()) {
    TransposeBytes(static_cast<const uint8_t*>(y->raw_data()), x.dim(0),
                   x.dim(1), static_cast<uint8_t*>(yt->raw_data()));
  }
  if (largest->defined()) {
    float* const before = largest->data<float>();
    *before = LargerMagnitude(*before, std::bit_cast<float>(LargestOf(x)));
  }
  if (sum->defined()) sum_to.AsPart(x, sum);
}

}  // namespace HWY_NAMESPACE
}  // namespace nextword::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace nextword::kernels {
namespace {
NW_REGISTER_CPU(quantization_scale, FindQuantizationScale);
NW_REGISTER_CPU(quantize, Quantize);
[[maybe_unused]] const bool registered =
    quantize_gelu_tanh.Register(DeviceType::kCpu, composed::QuantizeGeluTanh) &&
    quantize_gelu_tanh_grad.Register(DeviceType::kCpu,
                                     composed::QuantizeGeluTanhGrad);
}  // namespace
}  // namespace nextword::kernels
#endif  // HWY_ONCE
