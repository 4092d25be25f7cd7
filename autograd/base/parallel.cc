#include "autograd/base/parallel.h"

#include <omp.h>

#include <atomic>
#include <thread>
#include <vector>

namespace nextword {

void SetNumThreads(int threads) {
  omp_set_num_threads(threads > 0 ? threads : omp_get_num_procs());
}

int NumThreads() { return omp_get_max_threads(); }

void ForEachOnOwnThreads(int64_t n, const trace::Origin& origin,
                         const std::function<void(int64_t)>& body) {
  thread_local bool inside = false;
  if (inside) {
    for (int64_t i = 0; i < n; ++i) body(i);
    return;
  }
  std::atomic<int64_t> next{0};
  const auto work = [&] {
    const trace::WorkerSpan span(origin);
    inside = true;
    for (int64_t i = next++; i < n; i = next++) body(i);
    inside = false;
  };
  std::vector<std::thread> helpers;
  for (int i = 1; i < NumThreads(); ++i) helpers.emplace_back(work);
  work();
  for (std::thread& helper : helpers) helper.join();
}

}  // namespace nextword
