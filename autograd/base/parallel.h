// Parallel loops whose result does not depend on the number of threads.
//
// A loop is cut into chunks of a size that the caller fixes; threads take
// chunks, and which thread takes which never shows in the result. A reduction
// writes one partial result per chunk and adds them in chunk order. The threads
// are OpenMP's, one pool shared with the matmul library.
#ifndef NEXTWORD_AUTOGRAD_BASE_PARALLEL_H_
#define NEXTWORD_AUTOGRAD_BASE_PARALLEL_H_

#include <algorithm>
#include <cstdint>
#include <functional>

#include "autograd/base/trace.h"

namespace nextword {

// Threads that parallel loops use from now on; 0 means one per processor.
void SetNumThreads(int threads);
int NumThreads();

// Number of chunks into which ParallelFor cuts `n` iterations.
inline int64_t NumChunks(int64_t n, int64_t chunk) {
  return (n + chunk - 1) / chunk;
}

// ParallelForEach under ThreadSanitizer, which cannot see into OpenMP's runtime
// and would take each of its loops for a race: threads of our own, so that
// races between the iterations themselves are found.
void ForEachOnOwnThreads(int64_t n, const trace::Origin& origin,
                         const std::function<void(int64_t)>& body);

// Operations below which waking threads costs more than it gains: about 10
// microseconds of work.
inline constexpr double kMinParallelWork = 1e6;

// Calls body(i) for each i in [0, n), in no particular order, on all threads.
// Loops inside a parallel loop run on the calling thread, and so do loops whose
// `work`, the operations of all iterations, is small. `body` must not throw.
template <typename Body>
void ParallelForEach(int64_t n, const Body& body,
                     double work = kMinParallelWork) {
  if (n <= 1 || work < kMinParallelWork) {
    for (int64_t i = 0; i < n; ++i) body(i);
    return;
  }
  const trace::Origin origin;
#ifdef __SANITIZE_THREAD__
  ForEachOnOwnThreads(n, origin, body);
#else
#pragma omp parallel
  {
    const trace::WorkerSpan span(origin);
#pragma omp for schedule(dynamic, 1) nowait
    for (int64_t i = 0; i < n; ++i) body(i);
  }
#endif
}

// Calls body(begin, end) for consecutive ranges of `chunk` iterations (the last
// may be shorter) that together cover [0, n).
template <typename Body>
void ParallelFor(int64_t n, int64_t chunk, const Body& body) {
  ParallelForEach(NumChunks(n, chunk), [&](int64_t i) {
    body(i * chunk, std::min(n, (i + 1) * chunk));
  });
}

}  // namespace nextword

#endif  // NEXTWORD_AUTOGRAD_BASE_PARALLEL_H_
