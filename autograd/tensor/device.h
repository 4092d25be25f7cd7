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

// Whether this program has code for a type of device.
bool IsBuiltFor(DeviceType type);

// Devices of a type that this machine has and this program can use: 1 CPU.
int DeviceCount(DeviceType type);

// Called while the program starts by the library of a type of device, with what
// counts them. Returns true, so that it can initialise a static variable.
bool RegisterDeviceCount(DeviceType type, int (*count)());

struct Device {
  DeviceType type = DeviceType::kCpu;
  int index = 0;

  static Device Cpu() { return Device{}; }
  static Device Cuda(int index = 0) { return {DeviceType::kCuda, index}; }
  bool operator==(const Device&) const = default;
};

// "cpu", "cuda:1".
std::ostream& operator<<(std::ostream& out, Device device);

}  // namespace nextword

#endif  // NEXTWORD_AUTOGRAD_TENSOR_DEVICE_H_
