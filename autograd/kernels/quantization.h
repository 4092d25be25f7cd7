// How tensors become eight-bit floats: divided by one scale, which makes some
// magnitude, their own largest or one that is expected of them, the largest
// number of eight bits.
#ifndef NEXTWORD_AUTOGRAD_KERNELS_QUANTIZATION_H_
#define NEXTWORD_AUTOGRAD_KERNELS_QUANTIZATION_H_

#include <bit>
#include <cstdint>

#include "autograd/base/host_device.h"
#include "autograd/tensor/dtype.h"

namespace nextword::kernels {

// |x| as bits that compare as the numbers do, NaN above all.
NW_HOST_DEVICE uint32_t MagnitudeBits(float x) {
  return std::bit_cast<uint32_t>(x) & 0x7fffffffu;
}

NW_HOST_DEVICE float LargerMagnitude(float a, float b) {
  const uint32_t bits_a = MagnitudeBits(a), bits_b = MagnitudeBits(b);
  return std::bit_cast<float>(bits_a < bits_b ? bits_b : bits_a);
}

// The factor that makes `largest`, the dtype's largest number, the magnitude of
// these bits. Never 0; not finite if the magnitude is not.
NW_HOST_DEVICE float QuantizationScale(uint32_t magnitude_bits, float largest) {
  constexpr uint32_t kTiny = 27u << 23;  // 2^-100; its inverse is finite.
  return std::bit_cast<float>(magnitude_bits < kTiny ? kTiny : magnitude_bits) /
         largest;
}

// The largest number of an eight-bit dtype.
inline float LargestNumber(DType dtype) {
  float largest = 0;
  DispatchFloat8(dtype, "largest number",
                 [&](auto tag) { largest = decltype(tag)::kLargest; });
  return largest;
}

}  // namespace nextword::kernels

#endif  // NEXTWORD_AUTOGRAD_KERNELS_QUANTIZATION_H_
