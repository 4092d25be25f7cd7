#include "autograd/tensor/device.h"

namespace nextword {

const char* DeviceTypeName(DeviceType type) {
  return type == DeviceType::kCpu ? "cpu" : "cuda";
}

std::ostream& operator<<(std::ostream& out, Device device) {
  out << DeviceTypeName(device.type);
  if (device.type != DeviceType::kCpu) out << ":" << device.index;
  return out;
}

}  // namespace nextword
