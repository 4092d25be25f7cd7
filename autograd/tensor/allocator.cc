#include "autograd/tensor/allocator.h"

#include "autograd/base/check.h"
#include "autograd/tensor/cpu_allocator.h"

namespace nextword {
namespace {

using Getter = Allocator& (*)(int index);

Getter& GetterFor(DeviceType type) {
  static Getter getters[kNumDeviceTypes] = {
      [](int) -> Allocator& { return CpuAllocator::Get(); }};
  return getters[static_cast<int>(type)];
}

}  // namespace

Allocator& AllocatorFor(Device device) {
  const Getter getter = GetterFor(device.type);
  NW_CHECK(getter != nullptr)
      << "this build has no device " << DeviceTypeName(device.type);
  return getter(device.index);
}

bool RegisterAllocator(DeviceType type, Allocator& (*get)(int index)) {
  GetterFor(type) = get;
  return true;
}

}  // namespace nextword
