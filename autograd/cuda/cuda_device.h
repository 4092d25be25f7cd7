// The GPUs of this machine, and the stream that work on each is queued in.
#ifndef NEXTWORD_AUTOGRAD_CUDA_CUDA_DEVICE_H_
#define NEXTWORD_AUTOGRAD_CUDA_CUDA_DEVICE_H_

#include <cuda_runtime.h>

#include "autograd/tensor/device.h"

namespace nextword {

// Makes `device` the calling thread's current one and returns its stream. All
// kernels, copies and allocations of a device go into this one stream, so they
// happen in the order of the program; but for threads with a stream of their
// own. CHECKs that the device exists. Thread-safe.
cudaStream_t StreamOf(Device device);

// From now on, StreamOf on this thread gives `stream` for `device`: work that
// runs beside the program's. CHECKs that it is the thread's only one.
void UseStream(Device device, cudaStream_t stream);

// Whether each launch is to wait for its kernel, so that an error is found
// where it was made: NEXTWORD_CUDA_SYNC=1 in the environment.
bool SynchronousLaunches();

// Multiprocessors of the device: how many blocks keep it busy is a multiple.
int NumMultiprocessors(Device device);

}  // namespace nextword

#endif  // NEXTWORD_AUTOGRAD_CUDA_CUDA_DEVICE_H_
