// Registration of CPU kernels, one implementation per instruction set.
//
// A kernel file names itself in HWY_TARGET_INCLUDE, includes foreach_target.h
// and writes plain loops between HWY_BEFORE_NAMESPACE and HWY_AFTER_NAMESPACE;
// the compiler vectorises them once per target. Under HWY_ONCE it registers
// them with NW_REGISTER_CPU.
#ifndef NEXTWORD_AUTOGRAD_KERNELS_CPU_REGISTER_H_
#define NEXTWORD_AUTOGRAD_KERNELS_CPU_REGISTER_H_

#include "autograd/kernels/kernels.h"
#include "hwy/highway.h"

// Registers `Function`, of the current namespace's HWY_NAMESPACE, as
// kernels::kernel for the CPU, in the version that suits this machine.
#define NW_REGISTER_CPU(kernel, Function)                                 \
  HWY_EXPORT(Function);                                                   \
  [[maybe_unused]] const bool kernel##_registered = [] {                  \
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());               \
    return ::nextword::kernels::kernel.Register(                          \
        DeviceType::kCpu,                                                 \
        HWY_DISPATCH_TABLE(Function)[hwy::GetChosenTarget().GetIndex()]); \
  }()

#endif  // NEXTWORD_AUTOGRAD_KERNELS_CPU_REGISTER_H_
