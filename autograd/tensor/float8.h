// Eight-bit floats of the OCP's specification (OFP8, revision 1.0): E4M3, which
// has no infinities, and E5M2. Storage only, like BFloat16.
#ifndef NEXTWORD_AUTOGRAD_TENSOR_FLOAT8_H_
#define NEXTWORD_AUTOGRAD_TENSOR_FLOAT8_H_

#include <bit>
#include <cstdint>

#include "autograd/base/host_device.h"

namespace nextword {

// `kExponent` and `kMantissa` bits; the largest finite number is `kMax`.
// Conversion rounds to nearest, ties to even, and what is larger, infinities
// too, to the largest; NaN stays NaN.
template <int kExponent, int kMantissa, int kMax>
struct Float8 {
  static constexpr float kLargest = kMax;

  uint8_t bits;

  Float8() = default;
  NW_HOST_DEVICE explicit Float8(float value) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 890
    uint16_t pair;
    if constexpr (kExponent == 4) {
      asm("cvt.rn.satfinite.e4m3x2.f32 %0, %1, %2;"
          : "=h"(pair)
          : "f"(0.0f), "f"(value));
    } else {
      asm("cvt.rn.satfinite.e5m2x2.f32 %0, %1, %2;"
          : "=h"(pair)
          : "f"(0.0f), "f"(value));
    }
    bits = static_cast<uint8_t>(pair);
#else
    const uint32_t u = std::bit_cast<uint32_t>(value);
    const uint32_t magnitude = u & 0x7fffffffu;
    const float absolute = std::bit_cast<float>(magnitude);
    // Normal numbers keep their leading bits, of an exponent of another bias.
    constexpr int kDropped = 23 - kMantissa;
    const uint32_t half = (1u << (kDropped - 1)) - 1u;
    const uint32_t normal =
        ((magnitude + half + ((magnitude >> kDropped) & 1u)) >> kDropped) -
        (static_cast<uint32_t>(127 - kBias) << kMantissa);
    // The smallest steps are what a float of this size rounds to.
    constexpr float kRounds = PowerOfTwo(kSmallest + 23);
    const uint32_t subnormal = std::bit_cast<uint32_t>(absolute + kRounds) -
                               std::bit_cast<uint32_t>(kRounds);
    uint32_t result = absolute < PowerOfTwo(1 - kBias) ? subnormal : normal;
    result = absolute < kLargest ? result : kLargestBits;
    result |= u >> 31 << 7;
    bits = static_cast<uint8_t>(magnitude > 0x7f800000u ? 0x7fu : result);
#endif
  }

  NW_HOST_DEVICE operator float() const {
    const uint32_t magnitude = bits & 0x7fu;
    float value;
    if (magnitude >> kMantissa == 0) {
      value = static_cast<float>(magnitude) * PowerOfTwo(kSmallest);
    } else if (magnitude > kLargestBits) {
      const bool infinite = kExponent == 5 && magnitude == kLargestBits + 1;
      value = std::bit_cast<float>(infinite ? 0x7f800000u : 0x7fc00000u);
    } else {
      value = std::bit_cast<float>(
          (magnitude + (static_cast<uint32_t>(127 - kBias) << kMantissa))
          << (23 - kMantissa));
    }
    return (bits & 0x80u) != 0 ? -value : value;
  }

 private:
  static constexpr int kBias = (1 << (kExponent - 1)) - 1;
  static constexpr int kSmallest = 1 - kBias - kMantissa;  // Exponent of it.
  static constexpr uint32_t kLargestBits = kExponent == 4 ? 0x7e : 0x7b;

  static constexpr float PowerOfTwo(int exponent) {
    return std::bit_cast<float>(static_cast<uint32_t>(127 + exponent) << 23);
  }
};

using FloatE4M3 = Float8<4, 3, 448>;
using FloatE5M2 = Float8<5, 2, 57344>;

}  // namespace nextword

#endif  // NEXTWORD_AUTOGRAD_TENSOR_FLOAT8_H_
