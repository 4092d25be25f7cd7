#include <setjmp.h>
#include <ucontext.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "cuda_runtime.h"

namespace cuda_emulator {
namespace {

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

}  // namespace cuda_emulator
