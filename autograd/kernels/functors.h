// Scalar maths of the element-wise kernels, written once for CPU and CUDA.
//
// T is the compute type: float for f32 and bf16 tensors, double for f64. A
// unary functor has Value(x) and, where an op is differentiable in terms of its
// input, Grad(x, dy).
#ifndef NEXTWORD_AUTOGRAD_KERNELS_FUNCTORS_H_
#define NEXTWORD_AUTOGRAD_KERNELS_FUNCTORS_H_

#include <cmath>

#include "autograd/base/host_device.h"
#include "autograd/kernels/math.h"

namespace nextword::functors {

struct Add {
  template <typename T>
  NW_HOST_DEVICE static T Value(T a, T b) {
    return a + b;
  }
};

struct Sub {
  template <typename T>
  NW_HOST_DEVICE static T Value(T a, T b) {
    return a - b;
  }
};

struct Mul {
  template <typename T>
  NW_HOST_DEVICE static T Value(T a, T b) {
    return a * b;
  }
};

struct Div {
  template <typename T>
  NW_HOST_DEVICE static T Value(T a, T b) {
    return a / b;
  }
};

struct Exp {
  template <typename T>
  NW_HOST_DEVICE static T Value(T x) {
    return math::Exp(x);
  }
};

struct Log {
  template <typename T>
  NW_HOST_DEVICE static T Value(T x) {
    return std::log(x);
  }
};

struct Sqrt {
  template <typename T>
  NW_HOST_DEVICE static T Value(T x) {
    return std::sqrt(x);
  }
};

struct Tanh {
  template <typename T>
  NW_HOST_DEVICE static T Value(T x) {
    return math::Tanh(x);
  }
};

// x sigmoid(x).
struct Silu {
  template <typename T>
  NW_HOST_DEVICE static T Value(T x) {
    return x * math::Sigmoid(x);
  }
  template <typename T>
  NW_HOST_DEVICE static T Grad(T x, T dy) {
    const T s = math::Sigmoid(x);
    return dy * s * (T(1) + x * (T(1) - s));
  }
};

// 0.5 x (1 + tanh(u)) with u = sqrt(2 / pi) (x + 0.044715 x^3), computed as
// x sigmoid(2u), which does not cancel for negative x.
struct GeluTanh {
  template <typename T>
  NW_HOST_DEVICE static T Value(T x) {
    return x * math::Sigmoid(TwoU(x));
  }
  template <typename T>
  NW_HOST_DEVICE static T Grad(T x, T dy) {
    const T s = math::Sigmoid(TwoU(x));
    const T slope = T(2) * T(kSqrtTwoOverPi) * (T(1) + T(3 * 0.044715) * x * x);
    return dy * s * (T(1) + x * (T(1) - s) * slope);
  }

 private:
  static constexpr double kSqrtTwoOverPi = 0.79788456080286535588;
  template <typename T>
  NW_HOST_DEVICE static T TwoU(T x) {
    return T(2) * T(kSqrtTwoOverPi) * (x + T(0.044715) * x * x * x);
  }
};

// x Phi(x), Phi the normal distribution function.
struct Gelu {
  template <typename T>
  NW_HOST_DEVICE static T Value(T x) {
    return x * Phi(x);
  }
  template <typename T>
  NW_HOST_DEVICE static T Grad(T x, T dy) {
    const T density = T(0.39894228040143267794) * math::Exp(T(-0.5) * x * x);
    return dy * (Phi(x) + x * density);
  }

 private:
  template <typename T>
  NW_HOST_DEVICE static T Phi(T x) {
    return T(0.5) * (T(1) + math::Erf(x * T(0.70710678118654752440)));
  }
};

}  // namespace nextword::functors

#endif  // NEXTWORD_AUTOGRAD_KERNELS_FUNCTORS_H_
