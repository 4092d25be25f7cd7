// State that each GPU has one of, made when it is first asked for: a library's
// handle belongs to the device that was current when it was created.
#ifndef NEXTWORD_AUTOGRAD_CUDA_PER_DEVICE_H_
#define NEXTWORD_AUTOGRAD_CUDA_PER_DEVICE_H_

#include <map>
#include <memory>
#include <mutex>

#include "autograd/tensor/device.h"

namespace nextword {

// The T of `device`, constructed from it. Lives as long as the process: at its
// end the driver may be gone before static objects are. Thread-safe.
template <typename T>
T& PerDevice(Device device) {
  static auto* const mutex = new std::mutex;
  static auto* const all = new std::map<int, std::unique_ptr<T>>;
  const std::lock_guard<std::mutex> lock(*mutex);
  std::unique_ptr<T>& state = (*all)[device.index];
  if (state == nullptr) state = std::make_unique<T>(device);
  return *state;
}

}  // namespace nextword

#endif  // NEXTWORD_AUTOGRAD_CUDA_PER_DEVICE_H_
