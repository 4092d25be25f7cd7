// Element types, and the C++ types that hold them.
#ifndef NEXTWORD_AUTOGRAD_TENSOR_DTYPE_H_
#define NEXTWORD_AUTOGRAD_TENSOR_DTYPE_H_

#include <bit>
#include <cstddef>
#include <cstdint>
#include <ostream>

#include "autograd/base/check.h"
#include "autograd/base/host_device.h"
#include "autograd/tensor/float8.h"

namespace nextword {

enum class DType : uint8_t {
  kF32,
  kBF16,
  kI32,
  kF64,   // CPU only; for gradient checks.
  kE4M3,  // See float8.h; for products.
  kE5M2,
};

// "f32", "bf16", "i32", "f64", "e4m3" or "e5m2".
const char* DTypeName(DType dtype);
std::ostream& operator<<(std::ostream& out, DType dtype);

// Bytes of one element.
size_t DTypeSize(DType dtype);

// bfloat16: the upper half of a float. Storage only: arithmetic happens in
// float. Conversion rounds to nearest, ties to even; NaN stays NaN.
struct BFloat16 {
  uint16_t bits;

  BFloat16() = default;
  NW_HOST_DEVICE explicit BFloat16(float value) {
#ifdef __CUDA_ARCH__
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(bits) : "f"(value));
#else
    const uint32_t u = std::bit_cast<uint32_t>(value);
    const uint32_t rounded = u + 0x7fffu + ((u >> 16) & 1u);
    const bool is_nan = (u & 0x7fffffffu) > 0x7f800000u;
    bits = static_cast<uint16_t>((is_nan ? (u | 0x400000u) : rounded) >> 16);
#endif
  }
  NW_HOST_DEVICE operator float() const {
    return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16);
  }
};

template <typename T>
struct DTypeOf;
template <>
struct DTypeOf<float> {
  static constexpr DType value = DType::kF32;
};
template <>
struct DTypeOf<BFloat16> {
  static constexpr DType value = DType::kBF16;
};
template <>
struct DTypeOf<FloatE4M3> {
  static constexpr DType value = DType::kE4M3;
};
template <>
struct DTypeOf<FloatE5M2> {
  static constexpr DType value = DType::kE5M2;
};
template <>
struct DTypeOf<int32_t> {
  static constexpr DType value = DType::kI32;
};
template <>
struct DTypeOf<double> {
  static constexpr DType value = DType::kF64;
};

// The type that arithmetic on a stored type T uses: float, of f64 double.
template <typename T>
struct ComputeTypeOf {
  using type = T;
};
template <>
struct ComputeTypeOf<BFloat16> {
  using type = float;
};
template <>
struct ComputeTypeOf<FloatE4M3> {
  using type = float;
};
template <>
struct ComputeTypeOf<FloatE5M2> {
  using type = float;
};
template <typename T>
using ComputeType = typename ComputeTypeOf<T>::type;

// Of sums of elements, and of statistics: f32, of f64 f64.
inline DType SumDType(DType dtype) {
  return dtype == DType::kF64 ? DType::kF64 : DType::kF32;
}

// Calls f(T{}) with the C++ type of a floating-point dtype.
template <typename F>
void DispatchFloat(DType dtype, const char* what, const F& f) {
  switch (dtype) {
    case DType::kF32:
      return f(float{});
    case DType::kBF16:
      return f(BFloat16{});
    case DType::kF64:
      return f(double{});
    default:
      NW_CHECK(false) << what << ": wants a floating-point dtype, got "
                      << dtype;
  }
}

// The same for the eight-bit floats.
template <typename F>
void DispatchFloat8(DType dtype, const char* what, const F& f) {
  if (dtype == DType::kE4M3) return f(FloatE4M3{});
  if (dtype == DType::kE5M2) return f(FloatE5M2{});
  NW_CHECK(false) << what << ": wants e4m3 or e5m2, got " << dtype;
}

inline bool IsFloat8(DType dtype) {
  return dtype == DType::kE4M3 || dtype == DType::kE5M2;
}

}  // namespace nextword

#endif  // NEXTWORD_AUTOGRAD_TENSOR_DTYPE_H_
