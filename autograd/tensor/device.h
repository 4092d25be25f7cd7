// Where a tensor lives.
#ifndef NEXTWORD_AUTOGRAD_TENSOR_DEVICE_H_
#define NEXTWORD_AUTOGRAD_TENSOR_DEVICE_H_

#include <cstdint>
#include <ostream>
#include <string>

#include "absl/status/status.h"

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

// Devices of a type that this machine has: 1 CPU.
int DeviceCount(DeviceType type);

// What device `index` of a type is, with the versions of its driver and of its
// runtime; "" for a CPU. CHECKs that there is one.
std::string DescribeDevice(DeviceType type, int index);

// Whether this program can use it; if not, the error says what it is and what
// it lacks. CHECKs that there is one.
absl::Status CheckDevice(DeviceType type, int index);

// Called while the program starts by the library of a type of device, with what
// counts and describes them. Returns true, so that it can initialise a static
// variable.
bool RegisterDevices(DeviceType type, int (*count)(),
                     std::string (*describe)(int index));

// The same, with one of the things that a device must have to be used.
bool RegisterDeviceCheck(DeviceType type, absl::Status (*check)(int index));

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
