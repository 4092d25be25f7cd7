#include <setjmp.h>
#include <ucontext.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "cuda_runtime.h"

// Work in order, and the memory that it allocates.
struct EmulatedGraph {
  std::vector<std::function<void()>> work;
  std::vector<std::unique_ptr<char[]>> memory;
  std::map<void*, size_t> live;  // While it is recorded.
};

namespace cuda_emulator {
namespace {

// What this thread records, or null.
thread_local EmulatedGraph* recorded = nullptr;

constexpr size_t kStackBytes = size_t{1} << 17;
constexpr unsigned kWarp = 32;
constexpr size_t kMaxExchange = 16;

enum class State { kReady, kAtBarrier, kAtExchange, kDone };

struct Fiber {
  std::unique_ptr<char[]> stack;  // Null until it runs for the first time.
  jmp_buf context;                // Where it waits.
  State state = State::kReady;
  // What it gave in its last exchange but one, and in its last: a warp's other
  // threads may be one exchange behind.
  alignas(kMaxExchange) char given[2][kMaxExchange];
  unsigned exchanges = 0;
};

// Fills it with NaN, of f32, bf16 and f64.
void Spoil(void* memory, size_t bytes) { std::memset(memory, 0xff, bytes); }

std::vector<std::unique_ptr<Fiber>> fibers;
unsigned num_fibers = 0;  // Of the block that runs.
unsigned running = 0;
jmp_buf scheduler;
const std::function<void()>* kernel = nullptr;

[[noreturn]] void Fail(const char* what) {
  std::fprintf(stderr, "cuda_emulator: block %u, thread %u: %s\n", blockIdx.x,
               running, what);
  std::abort();
}

// Back to the scheduler, until it resumes this fiber. Jumps, for swapcontext
// makes two system calls.
void Wait(State state) {
  Fiber& self = *fibers[running];
  self.state = state;
  if (_setjmp(self.context) == 0) _longjmp(scheduler, 1);
}

// Runs one kernel after the other, as the thread that it is.
void FiberMain() {
  for (;;) {
    (*kernel)();
    Wait(State::kDone);
  }
}

void StartOnOwnStack(Fiber& fiber) {
  fiber.stack.reset(new char[kStackBytes]);
  ucontext_t context;
  getcontext(&context);
  context.uc_stack.ss_sp = fiber.stack.get();
  context.uc_stack.ss_size = kStackBytes;
  context.uc_link = nullptr;
  makecontext(&context, FiberMain, 0);
  setcontext(&context);
}

void Resume(unsigned thread) {
  running = thread;
  threadIdx = dim3(thread, 0, 0);
  Fiber& fiber = *fibers[thread];
  if (_setjmp(scheduler) != 0) return;
  if (fiber.stack == nullptr) StartOnOwnStack(fiber);
  _longjmp(fiber.context, 1);
}

// Lets go on those of [begin, end) that wait in `state`, if all do.
void ReleaseIfAll(unsigned begin, unsigned end, State state) {
  const auto waits = [&](const std::unique_ptr<Fiber>& fiber) {
    return fiber->state == state;
  };
  const auto first = fibers.begin() + begin, last = fibers.begin() + end;
  if (!std::all_of(first, last, waits)) return;
  for (auto fiber = first; fiber != last; ++fiber) {
    (*fiber)->state = State::kReady;
  }
}

void RunBlock(bool descending) {
  for (unsigned i = 0; i < num_fibers; ++i) {
    fibers[i]->state = State::kReady;
    fibers[i]->exchanges = 0;
  }
  for (;;) {
    bool any = false;
    for (unsigned i = 0; i < num_fibers; ++i) {
      const unsigned thread = descending ? num_fibers - 1 - i : i;
      if (fibers[thread]->state != State::kReady) continue;
      any = true;
      Resume(thread);
    }
    if (!any) break;
    ReleaseIfAll(0, num_fibers, State::kAtBarrier);
    for (unsigned i = 0; i < num_fibers; i += kWarp) {
      ReleaseIfAll(i, i + kWarp, State::kAtExchange);
    }
  }
  for (running = 0; running < num_fibers; ++running) {
    if (fibers[running]->state != State::kDone) {
      Fail("waits for threads that never come");
    }
  }
}

void RunNow(const dim3& grid, const dim3& block,
            const std::function<void()>& body) {
  if (grid.x == 0 || block.x == 0 || block.x > 1024 || block.x % kWarp != 0 ||
      grid.x > 0x7fffffffu) {
    Fail("a launch of no, too many, or half a warp of threads");
  }
  kernel = &body;
  num_fibers = block.x;
  while (fibers.size() < num_fibers)
    fibers.push_back(std::make_unique<Fiber>());
  gridDim = grid;
  blockDim = block;
  const char* const order = std::getenv("CUDA_EMULATOR_THREADS");
  const bool descending =
      order != nullptr && std::string_view(order) == "descending";
  for (unsigned i = 0; i < grid.x; ++i) {
    blockIdx = dim3(i, 0, 0);
    RunBlock(descending);
  }
}

}  // namespace

void Run(const dim3& grid, const dim3& block, std::function<void()> body) {
  Do([grid, block, body = std::move(body)] { RunNow(grid, block, body); });
}

void Barrier() { Wait(State::kAtBarrier); }

const void* Exchange(const void* value, size_t size, unsigned lane) {
  if (size > kMaxExchange) Fail("an exchange of a large value");
  const unsigned self = running;
  Fiber& fiber = *fibers[self];
  const unsigned turn = fiber.exchanges++ % 2;
  std::memcpy(fiber.given[turn], value, size);
  Wait(State::kAtExchange);
  return fibers[self / kWarp * kWarp + lane]->given[turn];
}

void Trap() { Fail("trap"); }

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
  if (EmulatedGraph* const graph = cuda_emulator::recorded; graph != nullptr) {
    graph->memory.push_back(std::make_unique<char[]>(bytes));
    *pointer = graph->memory.back().get();
    graph->live[*pointer] = bytes;
    graph->work.push_back(
        [p = *pointer, bytes] { cuda_emulator::Spoil(p, bytes); });
    return cudaSuccess;
  }
  // Under AddressSanitizer, malloc does not return null.
  constexpr size_t kMost = size_t{1} << 36;
  *pointer = bytes <= kMost ? std::malloc(bytes) : nullptr;
  if (*pointer == nullptr) return cudaErrorMemoryAllocation;
  cuda_emulator::Spoil(*pointer, bytes);
  return cudaSuccess;
}

cudaError_t cudaFreeAsync(void* pointer, cudaStream_t) {
  if (EmulatedGraph* const graph = cuda_emulator::recorded; graph != nullptr) {
    const auto found = graph->live.find(pointer);
    if (found == graph->live.end()) {
      cuda_emulator::Fail("a recording frees memory that is not its own");
    }
    graph->work.push_back([pointer, bytes = found->second] {
      cuda_emulator::Spoil(pointer, bytes);
    });
    graph->live.erase(found);
    return cudaSuccess;
  }
  std::free(pointer);
  return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t) {
  if (cuda_emulator::recorded != nullptr) {
    cuda_emulator::Fail("a recording waits for the device");
  }
  return cudaSuccess;
}

cudaError_t cudaStreamBeginCapture(cudaStream_t, cudaStreamCaptureMode) {
  cuda_emulator::recorded = new EmulatedGraph;
  return cudaSuccess;
}

cudaError_t cudaStreamIsCapturing(cudaStream_t,
                                  cudaStreamCaptureStatus* status) {
  *status = cuda_emulator::recorded == nullptr ? cudaStreamCaptureStatusNone
                                               : cudaStreamCaptureStatusActive;
  return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t, cudaGraph_t* graph) {
  *graph = std::exchange(cuda_emulator::recorded, nullptr);
  if (!(*graph)->live.empty()) {
    cuda_emulator::Fail("a recording leaves memory that it allocated");
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
