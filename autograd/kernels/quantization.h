// How tensors become eight-bit floats: by one scale, of their own largest
// element ("current scaling"). What another step had for its largest does not
// enter, so a resumed run has nothing to remember.
#ifndef NEXTWORD_AUTOGRAD_KERNELS_QUANTIZATION_H_
#define NEXTWORD_AUTOGRAD_KERNELS_QUANTIZATION_H_

#include <bit>
#include <cstdint>

#include "autograd/base/host_device.h"

namespace nextword::kernels {

// |x| as bits that compare as the numbers do, NaN above all.
NW_HOST_DEVICE uint32_t MagnitudeBits(float x) {
  return std::bit_cast<uint32_t>(x) & 0x7fffffffu;
}

// The factor that makes `largest`, the dtype's largest number, the magnitude of
// these bits. Never 0; not finite if the magnitude is not.
NW_HOST_DEVICE float QuantizationScale(uint32_t magnitude_bits, float largest) {
  constexpr uint32_t kTiny = 27u << 23;  // 2^-100; its inverse is finite.
  return std::bit_cast<float>(magnitude_bits < kTiny ? kTiny : magnitude_bits) /
         largest;
}

}  // namespace nextword::kernels

#endif  // NEXTWORD_AUTOGRAD_KERNELS_QUANTIZATION_H_
