// Where a tensor lives.
#ifndef NEXTWORD_AUTOGRAD_TENSOR_DEVICE_H_
#define NEXTWORD_AUTOGRAD_TENSOR_DEVICE_H_

#include <cstdint>
#include <ostream>

namespace nextword {

enum class DeviceType : uint8_t {
  kCpu,
  kCuda,
};
inline constexpr int kNumDeviceTypes = 2;

// "cpu" or "cuda".
const char* DeviceTypeName(DeviceType type);

struct Device {
  DeviceType type = DeviceType::kCpu;
  int index = 0;

  static Device Cpu() { return Device{}; }
  bool operator==(const Device&) const = default;
};

// "cpu", "cuda:1".
std::ostream& operator<<(std::ostream& out, Device device);

}  // namespace nextword

#endif  // NEXTWORD_AUTOGRAD_TENSOR_DEVICE_H_
