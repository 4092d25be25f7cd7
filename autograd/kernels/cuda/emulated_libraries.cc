// What the emulated device has for NVIDIA's libraries: for matrix products, the
// CPU's on copies; for attention, our own kernels alone.
#include <cuda_runtime.h>

#include <cstring>

#include "autograd/kernels/composed.h"
#include "autograd/kernels/cuda/plain_attention.h"
#include "autograd/kernels/kernels.h"

namespace nextword::kernels {
namespace {

// An operand in the emulated device's memory, which is the host's. Work that is
// recorded must not hold tensors.
struct Operand {
  explicit Operand(In x) : declared(Tensor::Declared(x.shape(), x.dtype())) {
    if (x.defined()) data = x.raw_data();
    defined = x.defined();
  }

  Tensor OnCpu() const {
    if (!defined) return Tensor();
    const Tensor copy = Empty(declared.shape(), declared.dtype());
    std::memcpy(copy.raw_data(), data, copy.size_bytes());
    return copy;
  }
  void Set(In value) const {
    std::memcpy(data, value.raw_data(), value.size_bytes());
  }

  Tensor declared;
  void* data = nullptr;
  bool defined = false;
};

void Matmul(In a, bool ta, In b, bool tb, bool add, Out y) {
  cuda_emulator::Do(
      [a = Operand(a), ta, b = Operand(b), tb, add, y = Operand(*y)] {
        Tensor result = y.OnCpu();
        matmul(a.OnCpu(), ta, b.OnCpu(), tb, add, &result);
        y.Set(result);
      });
}

void Linear(In x, In w, In bias, In residual, Out y) {
  cuda_emulator::Do([x = Operand(x), w = Operand(w), bias = Operand(bias),
                     residual = Operand(residual), y = Operand(*y)] {
    Tensor result = y.OnCpu();
    linear(x.OnCpu(), w.OnCpu(), bias.OnCpu(), residual.OnCpu(), &result);
    y.Set(result);
  });
}

[[maybe_unused]] const bool registered =
    matmul.Register(DeviceType::kCuda, Matmul) &&
    linear.Register(DeviceType::kCuda, Linear) &&
    linear_gelu_tanh.Register(DeviceType::kCuda, composed::LinearGeluTanh) &&
    linear_grad.Register(DeviceType::kCuda, composed::LinearGrad) &&
    linear_gelu_tanh_grad.Register(DeviceType::kCuda,
                                   composed::LinearGeluTanhGrad) &&
    matmul_quantized.Register(DeviceType::kCuda, composed::MatmulQuantized) &&
    attention.Register(DeviceType::kCuda, cuda::PlainAttention) &&
    attention_grad.Register(DeviceType::kCuda, cuda::PlainAttentionGrad);

}  // namespace
}  // namespace nextword::kernels
