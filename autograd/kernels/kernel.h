// Kernel: a typed function with one implementation per kind of device.
//
// A kernel is declared once, in kernels.h; each device's library registers its
// implementation while the program starts, so that a build without a device
// needs no stubs. A call goes to the device of its first argument (a Tensor, a
// pointer to one, some of them, or a struct whose `data` is one), in a span of
// the kernel's name; checks that fail in it name it and its tensors; it
// computes nothing where its thread leaves out what a stop makes useless
// (base/interruptible.h). The span knows the kernel's work: each of its tensors
// passed over once, unless work.cc says otherwise. Immutable after start, so
// thread-safe.
#ifndef NEXTWORD_AUTOGRAD_KERNELS_KERNEL_H_
#define NEXTWORD_AUTOGRAD_KERNELS_KERNEL_H_

#include <ostream>
#include <type_traits>
#include <vector>

#include "autograd/base/check.h"
#include "autograd/base/interruptible.h"
#include "autograd/base/trace.h"
#include "autograd/tensor/device.h"
#include "autograd/tensor/tensor.h"

namespace nextword {

template <typename Signature>
class Kernel;

template <typename... Args>
class Kernel<void(Args...)> {
 public:
  using Function = void (*)(Args...);
  using WorkFunction = trace::Work (*)(Args...);

  constexpr explicit Kernel(const char* name) : name_(name) {}
  Kernel(const Kernel&) = delete;
  Kernel& operator=(const Kernel&) = delete;

  void operator()(Args... args) const {
    const Device device = FirstTensor(args...).device();
    const Function function = FunctionFor(device);
    if (InterruptibleScope::LeaveOut()) return;
    trace::Span span("kernel", name_);
    trace::DeviceSpan device_span;
    if (span.is_recorded()) [[unlikely]] {
      const trace::Work work =
          work_ != nullptr ? work_(args...) : PassOver(args...);
      span.SetWork(work);
      if (device.type != DeviceType::kCpu) {
        device_span.Open(device.index, name_, work);
      }
    }
    const auto describe = [&](std::ostream& out) {
      out << name_ << " of";
      (Describe(args, out), ...);
    };
    const CheckContext context(describe);
    function(args...);
  }

  // A call by another kernel, to whose span and work it belongs.
  void AsPart(Args... args) const {
    FunctionFor(FirstTensor(args...).device())(args...);
  }

  // Returns true, so that it can initialise a static variable.
  bool Register(DeviceType type, Function function) {
    functions_[static_cast<int>(type)] = function;
    return true;
  }

  // The same for what a call has to do, where it is more, or less, than to pass
  // once over its tensors.
  bool RegisterWork(WorkFunction work) {
    work_ = work;
    return true;
  }

  // Work that is a pass over all tensors of a call.
  static trace::Work PassOver(const Args&... args) {
    return {.bytes = (BytesOf(args) + ... + 0.0)};
  }

  const char* name() const { return name_; }

 private:
  Function FunctionFor(Device device) const {
    const Function function = functions_[static_cast<int>(device.type)];
    NW_CHECK(function != nullptr)
        << "kernel " << name_ << " has no implementation for "
        << DeviceTypeName(device.type);
    return function;
  }

  template <typename... Rest>
  static const Tensor& FirstTensor(const Tensor& first, const Rest&...) {
    return first;
  }
  template <typename... Rest>
  static const Tensor& FirstTensor(Tensor* first, const Rest&...) {
    return *first;
  }
  template <typename... Rest>
  static const Tensor& FirstTensor(const std::vector<Tensor>& first,
                                   const Rest&...) {
    return first.front();
  }
  template <typename Part, typename... Rest>
  static const Tensor& FirstTensor(const Part& first, const Rest&...) {
    return first.data;
  }

  // Of a part of a tensor, its share.
  template <typename Arg>
  static double BytesOf(const Arg& arg) {
    if constexpr (std::is_same_v<Arg, Tensor>) {
      return arg.defined() ? static_cast<double>(arg.size_bytes()) : 0;
    } else if constexpr (std::is_same_v<Arg, Tensor*>) {
      return arg != nullptr ? BytesOf(*arg) : 0;
    } else if constexpr (requires { arg.data; }) {
      return BytesOf(arg.data) * arg.share();
    } else {
      return 0;
    }
  }

  // Tensors by dtype and shape; other arguments are left out.
  template <typename Arg>
  static void Describe(const Arg& arg, std::ostream& out) {
    if constexpr (std::is_same_v<Arg, Tensor>) {
      if (arg.defined()) out << " " << arg;
    } else if constexpr (std::is_same_v<Arg, Tensor*>) {
      if (arg != nullptr) Describe(*arg, out);
    } else if constexpr (std::is_same_v<Arg, std::vector<Tensor>>) {
      for (const Tensor& tensor : arg) Describe(tensor, out);
    } else if constexpr (requires { arg.data; }) {
      Describe(arg.data, out);
    }
  }

  const char* const name_;
  WorkFunction work_ = nullptr;
  Function functions_[kNumDeviceTypes] = {};
};

}  // namespace nextword

#endif  // NEXTWORD_AUTOGRAD_KERNELS_KERNEL_H_
