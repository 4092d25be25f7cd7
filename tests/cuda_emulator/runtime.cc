// The runtime's memory and graphs.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "cuda_runtime.h"

// Work in order, and the memory that it allocates.
struct EmulatedGraph {
  std::vector<std::function<void()>> work;
  std::vector<std::unique_ptr<char[]>> memory;
  std::map<void*, size_t> live;  // While it is recorded.
};

namespace {

// What this thread records, or null.
thread_local EmulatedGraph* recorded = nullptr;

[[noreturn]] void Fail(const char* what) {
  std::fprintf(stderr, "cuda_emulator: %s\n", what);
  std::abort();
}

// Fills it with NaN, of f32, bf16 and f64.
void Spoil(void* memory, size_t bytes) { std::memset(memory, 0xff, bytes); }

}  // namespace

namespace cuda_emulator {

void Do(std::function<void()> work) {
  if (recorded == nullptr) return work();
  recorded->work.push_back(std::move(work));
}

}  // namespace cuda_emulator

cudaError_t cudaMemGetInfo(size_t* free, size_t* total) {
  *free = *total = size_t{1} << 30;
  return cudaSuccess;
}

cudaError_t cudaMallocAsync(void** pointer, size_t bytes, cudaStream_t) {
  if (EmulatedGraph* const graph = recorded; graph != nullptr) {
    graph->memory.push_back(std::make_unique<char[]>(bytes));
    *pointer = graph->memory.back().get();
    graph->live[*pointer] = bytes;
    graph->work.push_back([p = *pointer, bytes] { Spoil(p, bytes); });
    return cudaSuccess;
  }
  // Under AddressSanitizer, malloc does not return null.
  constexpr size_t kMost = size_t{1} << 36;
  *pointer = bytes <= kMost ? std::malloc(bytes) : nullptr;
  if (*pointer == nullptr) return cudaErrorMemoryAllocation;
  Spoil(*pointer, bytes);
  return cudaSuccess;
}

cudaError_t cudaFreeAsync(void* pointer, cudaStream_t) {
  if (EmulatedGraph* const graph = recorded; graph != nullptr) {
    const auto found = graph->live.find(pointer);
    if (found == graph->live.end()) {
      Fail("a recording frees memory that is not its own");
    }
    graph->work.push_back(
        [pointer, bytes = found->second] { Spoil(pointer, bytes); });
    graph->live.erase(found);
    return cudaSuccess;
  }
  std::free(pointer);
  return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t) {
  if (recorded != nullptr) {
    Fail("a recording waits for the device");
  }
  return cudaSuccess;
}

cudaError_t cudaStreamBeginCapture(cudaStream_t, cudaStreamCaptureMode) {
  recorded = new EmulatedGraph;
  return cudaSuccess;
}

cudaError_t cudaStreamIsCapturing(cudaStream_t,
                                  cudaStreamCaptureStatus* status) {
  *status = recorded == nullptr ? cudaStreamCaptureStatusNone
                                : cudaStreamCaptureStatusActive;
  return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t, cudaGraph_t* graph) {
  *graph = std::exchange(recorded, nullptr);
  if (!(*graph)->live.empty()) {
    Fail("a recording leaves memory that it allocated");
  }
  return cudaSuccess;
}

// The graph goes on as what is instantiated.
cudaError_t cudaGraphInstantiate(cudaGraphExec_t* executable, cudaGraph_t graph,
                                 unsigned) {
  *executable = graph;
  return cudaSuccess;
}
cudaError_t cudaGraphDestroy(cudaGraph_t) { return cudaSuccess; }

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable) {
  delete executable;
  return cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t) {
  constexpr char kNoMemory[] = "CUDA_EMULATOR_NO_GRAPH_MEMORY";
  if (std::getenv(kNoMemory) != nullptr) {
    unsetenv(kNoMemory);
    return cudaErrorMemoryAllocation;
  }
  for (const auto& work : executable->work) work();
  return cudaSuccess;
}

cudaError_t cudaHostAlloc(void** pointer, size_t bytes, unsigned) {
  *pointer = std::malloc(bytes);
  return *pointer == nullptr ? cudaErrorMemoryAllocation : cudaSuccess;
}
