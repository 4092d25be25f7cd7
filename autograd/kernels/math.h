// Elementary functions for kernels: float versions without branches, which
// compilers turn into vector code; double versions from the C library, for
// gradient checks. The same source serves CPU and CUDA.
#ifndef NEXTWORD_AUTOGRAD_KERNELS_MATH_H_
#define NEXTWORD_AUTOGRAD_KERNELS_MATH_H_

#include <bit>
#include <cmath>
#include <cstdint>

#include "autograd/base/host_device.h"

namespace nextword::math {

NW_HOST_DEVICE double Exp(double x) { return ::exp(x); }
NW_HOST_DEVICE double Erf(double x) { return ::erf(x); }

// e^x within 2 units in the last place; 0 below -86.9, infinity above the
// logarithm of the largest float; NaN stays NaN. x = n ln 2 + r with
// |r| <= ln 2 / 2, e^r by its Taylor polynomial of degree 7 (remainder below
// 6e-9). The product is 2 e^r times 2^(n - 1), for n may be 128 and 2^128 is no
// float.
NW_HOST_DEVICE float Exp(float x) {
#ifdef __CUDA_ARCH__
  return ::expf(x);
#else
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it rounds.
  const float low = x < -86.9f ? -86.9f : x;
  const float clamped = low > 88.73f ? 88.73f : low;
  const float n = (clamped * 1.44269504f + kRound) - kRound;
  // ln 2 in two parts, the first with trailing zeros so that n * part is exact.
  const float r = (clamped - n * 0.693359375f) + n * 2.12194440e-4f;
  float p = 2.0f / 5040;
  p = p * r + 2.0f / 720;
  p = p * r + 2.0f / 120;
  p = p * r + 2.0f / 24;
  p = p * r + 2.0f / 6;
  p = p * r + 1.0f;
  p = p * r + 2.0f;
  p = p * r + 2.0f;
  const int32_t exponent = (static_cast<int32_t>(n) + 126) << 23;
  const float y = p * std::bit_cast<float>(exponent);
  return x < -86.9f ? 0.0f : y;
#endif
}

// erf(x) within 3e-7 relative. Up to |x| = 1 an odd polynomial, beyond it
// 1 - e^(-x^2) Q(1 / (1 + |x| / 2)); both are minimax fits.
NW_HOST_DEVICE float Erf(float x) {
#ifdef __CUDA_ARCH__
  return ::erff(x);
#else
  const float a = x < 0 ? -x : x;
  const float z = a * a;
  float p = 7.853858e-05f;
  p = p * z + -0.00080101925f;
  p = p * z + 0.0051883277f;
  p = p * z + -0.026853811f;
  p = p * z + 0.112835854f;
  p = p * z + -0.37612626f;
  p = p * z + 1.1283791f;
  const float t = 1.0f / (1.0f + 0.5f * a);
  float q = 0.076432034f;
  q = q * t + -0.16995862f;
  q = q * t + 0.0032536099f;
  q = q * t + 0.12291938f;
  q = q * t + 0.1494165f;
  q = q * t + 0.2556019f;
  q = q * t + 0.28050217f;
  q = q * t + 0.28224966f;
  q = q * t + -6.2970566e-06f;
  const float tail = 1.0f - Exp(-z) * q;
  const float magnitude = a < 1.0f ? a * p : tail;
  return x < 0 ? -magnitude : magnitude;
#endif
}

// 1 / x; on a GPU within 2 units in the last place, and 0 of x above 2^126: a
// division that is exact is a branch there, past which no load is moved.
NW_HOST_DEVICE double Inverse(double x) { return 1 / x; }
NW_HOST_DEVICE float Inverse(float x) {
#ifdef __CUDA_ARCH__
  return __fdividef(1.0f, x);
#else
  return 1 / x;
#endif
}

// 1 / (1 + e^-x), within a few units in the last place for negative x, too, but
// for the smallest.
template <typename T>
NW_HOST_DEVICE T Sigmoid(T x) {
  return Inverse(T(1) + Exp(-x));
}

// tanh(x) = 2 sigmoid(2x) - 1; absolute error a few 1e-8 in float, a few 1e-7
// on a GPU.
template <typename T>
NW_HOST_DEVICE T Tanh(T x) {
  return T(2) * Sigmoid(T(2) * x) - T(1);
}

}  // namespace nextword::math

#endif  // NEXTWORD_AUTOGRAD_KERNELS_MATH_H_
