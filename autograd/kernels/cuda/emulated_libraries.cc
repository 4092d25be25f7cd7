// What the emulated device has for NVIDIA's libraries: for matrix products, the
// CPU's on copies; for attention, our own kernels alone.
#include "autograd/kernels/composed.h"
#include "autograd/kernels/cuda/plain_attention.h"
#include "autograd/kernels/kernels.h"

namespace nextword::kernels {
namespace {

Tensor OnCpu(In x) {
  return x.defined() ? ToDevice(x, Device::Cpu()) : Tensor();
}

void Matmul(In a, bool ta, In b, bool tb, bool add, Out y) {
  Tensor result = OnCpu(*y);
  matmul(OnCpu(a), ta, OnCpu(b), tb, add, &result);
  copy(ToDevice(result, y->device()), y);
}

void Linear(In x, In w, In bias, In residual, Out y) {
  Tensor result = Empty(y->shape(), y->dtype());
  linear(OnCpu(x), OnCpu(w), OnCpu(bias), OnCpu(residual), &result);
  copy(ToDevice(result, y->device()), y);
}

[[maybe_unused]] const bool registered =
    matmul.Register(DeviceType::kCuda, Matmul) &&
    linear.Register(DeviceType::kCuda, Linear) &&
    linear_gelu_tanh.Register(DeviceType::kCuda, composed::LinearGeluTanh) &&
    linear_grad.Register(DeviceType::kCuda, composed::LinearGrad) &&
    linear_gelu_tanh_grad.Register(DeviceType::kCuda,
                                   composed::LinearGeluTanhGrad) &&
    attention.Register(DeviceType::kCuda, cuda::PlainAttention) &&
    attention_grad.Register(DeviceType::kCuda, cuda::PlainAttentionGrad);

}  // namespace
}  // namespace nextword::kernels
