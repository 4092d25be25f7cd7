#include "autograd/tensor/device.h"

namespace nextword {
namespace {

using Counter = int (*)();

Counter& CounterOf(DeviceType type) {
  static Counter counters[kNumDeviceTypes] = {[] { return 1; }};
  return counters[static_cast<int>(type)];
}

}  // namespace

bool IsBuiltFor(DeviceType type) { return CounterOf(type) != nullptr; }

int DeviceCount(DeviceType type) {
  const Counter count = CounterOf(type);
  return count == nullptr ? 0 : count();
}

bool RegisterDeviceCount(DeviceType type, int (*count)()) {
  CounterOf(type) = count;
  return true;
}

const char* DeviceTypeName(DeviceType type) {
  return type == DeviceType::kCpu ? "cpu" : "cuda";
}

std::ostream& operator<<(std::ostream& out, Device device) {
  out << DeviceTypeName(device.type);
  if (device.type != DeviceType::kCpu) out << ":" << device.index;
  return out;
}

}  // namespace nextword
