// How fast a device's memory is.
#ifndef NEXTWORD_TOOLS_COMMANDS_BANDWIDTH_H_
#define NEXTWORD_TOOLS_COMMANDS_BANDWIDTH_H_

#include "autograd/tensor/device.h"

namespace nextword {

// Bytes per second, read and written, of copies of a buffer far larger than the
// caches, by all of the device's threads; the best within about `seconds`.
double MeasureBandwidth(Device device, double seconds);

}  // namespace nextword

#endif  // NEXTWORD_TOOLS_COMMANDS_BANDWIDTH_H_
