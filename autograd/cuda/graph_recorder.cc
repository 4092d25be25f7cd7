// Recordings as CUDA graphs. Register-only; see repeated_work.h.
#include <cuda_runtime.h>

#include <functional>
#include <memory>

#include "autograd/cuda/cuda_allocator.h"
#include "autograd/cuda/cuda_check.h"
#include "autograd/cuda/cuda_device.h"
#include "autograd/tensor/repeated_work.h"

namespace nextword {
namespace {

class GraphRecording : public Recording {
 public:
  GraphRecording(Device device, cudaGraph_t graph) : device_(device) {
    NW_CUDA_CHECK(cudaGraphInstantiate(&executable_, graph, 0));
  }
  ~GraphRecording() override {
    StreamOf(device_);  // Makes the device current.
    NW_CUDA_CHECK(cudaGraphExecDestroy(executable_));
    CudaAllocator::Get(device_.index).Trim();
  }
  GraphRecording(const GraphRecording&) = delete;
  GraphRecording& operator=(const GraphRecording&) = delete;

  // A graph gets its memory when it is launched.
  void Replay() override {
    const cudaStream_t stream = StreamOf(device_);
    cudaError_t error = cudaGraphLaunch(executable_, stream);
    if (error == cudaErrorMemoryAllocation) {
      // What others have given back is kept for them.
      cudaGetLastError();
      CudaAllocator::Get(device_.index).Trim();
      error = cudaGraphLaunch(executable_, stream);
    }
    NW_CUDA_CHECK(error);
  }

 private:
  const Device device_;
  cudaGraphExec_t executable_ = nullptr;
};

std::unique_ptr<Recording> Record(int index,
                                  const std::function<void()>& queue) {
  if (SynchronousLaunches()) return nullptr;
  const Device device = Device::Cuda(index);
  const cudaStream_t stream = StreamOf(device);
  // Other threads, which write checkpoints, go on as ever.
  NW_CUDA_CHECK(
      cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
  queue();
  cudaGraph_t graph = nullptr;
  NW_CUDA_CHECK(cudaStreamEndCapture(stream, &graph));
  auto recording = std::make_unique<GraphRecording>(device, graph);
  NW_CUDA_CHECK(cudaGraphDestroy(graph));
  // A graph has memory of its own; it is not to be held twice.
  CudaAllocator::Get(index).Trim();
  return recording;
}

[[maybe_unused]] const bool registered =
    RegisterRecorder(DeviceType::kCuda, Record);

}  // namespace
}  // namespace nextword
