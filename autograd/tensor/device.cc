#include "autograd/tensor/device.h"

#include <vector>

#include "autograd/base/check.h"

namespace nextword {
namespace {

struct Devices {
  int (*count)() = nullptr;
  std::string (*describe)(int index) = nullptr;
  std::vector<absl::Status (*)(int index)> checks = {};
};

Devices& DevicesOf(DeviceType type) {
  static Devices devices[kNumDeviceTypes] = {
      {[] { return 1; }, [](int /*index*/) { return std::string(); }}};
  return devices[static_cast<int>(type)];
}

void CheckThereIs(DeviceType type, int index) {
  NW_CHECK(index >= 0 && index < DeviceCount(type))
      << "there is no " << DeviceTypeName(type) << " device " << index;
}

}  // namespace

bool IsBuiltFor(DeviceType type) { return DevicesOf(type).count != nullptr; }

int DeviceCount(DeviceType type) {
  return IsBuiltFor(type) ? DevicesOf(type).count() : 0;
}

std::string DescribeDevice(DeviceType type, int index) {
  CheckThereIs(type, index);
  return DevicesOf(type).describe(index);
}

absl::Status CheckDevice(DeviceType type, int index) {
  CheckThereIs(type, index);
  for (const auto check : DevicesOf(type).checks) {
    const absl::Status status = check(index);
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

bool RegisterDevices(DeviceType type, int (*count)(),
                     std::string (*describe)(int index)) {
  DevicesOf(type).count = count;
  DevicesOf(type).describe = describe;
  return true;
}

bool RegisterDeviceCheck(DeviceType type, absl::Status (*check)(int index)) {
  DevicesOf(type).checks.push_back(check);
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
