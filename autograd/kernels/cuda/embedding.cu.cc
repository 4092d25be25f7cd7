// Rows of an embedding table, and the gradient of the table.
#include "autograd/kernels/cuda/device_loops.h"
#include "autograd/kernels/cuda/launch.h"
#include "autograd/kernels/cuda/packs.h"
#include "autograd/kernels/cuda/sort_ids.h"

namespace nextword::kernels::cuda {
namespace {

// A thread for each pack of a row.
template <int kPack, typename T, typename U>
__global__ void EmbeddingKernel(int64_t n, int64_t columns, int64_t rows,
                                const T* w, const int32_t* ids, U* y) {
  const int64_t packs = columns / kPack;
  ForEachItem(n * packs, [=](int64_t item) {
    const int32_t id = ids[item / packs];
    NW_DEVICE_CHECK(id >= 0 && id < rows, "embedding: id", id);
    Store(Load<kPack>(w + id * columns + item % packs * kPack, true),
          y + item * kPack, true);
  });
}

void EmbeddingForward(In w, In ids, Out y) {
  DispatchF32OrBf16(w.dtype(), "embedding", [&](auto from) {
    DispatchF32OrBf16(y->dtype(), "embedding", [&](auto to) {
      using T = decltype(from);
      using U = decltype(to);
      constexpr int kPack = kPackOf<T, U>;
      const bool packs =
          AlignedForPacks(kPack, w.dim(1), w.data<T>(), y->data<U>());
      Launch(y->device(),
             GridForItems(y->numel() / (packs ? kPack : 1), y->device()),
             packs ? EmbeddingKernel<kPack, T, U> : EmbeddingKernel<1, T, U>,
             ids.numel(), w.dim(1), w.dim(0), w.data<T>(), ids.data<int32_t>(),
             y->data<U>());
    });
  });
}

// The end of the run of equal ids that begins at `first`, of n sorted ones.
NW_DEVICE int64_t EndOfRun(const int32_t* sorted_ids, int64_t first,
                           int64_t n) {
  int64_t low = first, high = n;  // The id is at low, and not from high on.
  while (high - low > 1) {
    const int64_t middle = low + (high - low) / 2;
    (sorted_ids[middle] == sorted_ids[first] ? low : high) = middle;
  }
  return high;
}

// A block for each run of equal ids: adds the rows of dy at their positions,
// one after the other. A text's commonest token has hundreds of them: several
// are loaded at once.
template <int kPack, typename T, typename U>
__global__ void __launch_bounds__(kThreads, 4)
    EmbeddingGradKernel(int64_t n, int64_t columns, int64_t rows,
                        const int32_t* sorted_ids, const int32_t* positions,
                        const T* dy, U* dw) {
  constexpr int kAtOnce = 8;
  ForEachRow(n, [=](int64_t first) {
    const int32_t id = sorted_ids[first];
    NW_DEVICE_CHECK(id >= 0 && id < rows, "embedding gradient: id", id);
    if (first > 0 && sorted_ids[first - 1] == id) return;
    const int64_t end = EndOfRun(sorted_ids, first, n);
    ForEachInBlock(columns / kPack, [=](int64_t pack) {
      const int64_t column = pack * kPack;
      const auto row = [=](int64_t i) {
        return dy + positions[i] * columns + column;
      };
      U* const to = dw + id * columns + column;
      Floats<kPack> sum = Load<kPack>(to, true);
      int64_t i = first;
      for (; i + kAtOnce <= end; i += kAtOnce) {
        const T* from[kAtOnce];
        for (int k = 0; k < kAtOnce; ++k) from[k] = row(i + k);
        Floats<kPack> next[kAtOnce];
        for (int k = 0; k < kAtOnce; ++k) next[k] = Load<kPack>(from[k], true);
        for (int k = 0; k < kAtOnce; ++k) sum = ForItems(SumOf(), sum, next[k]);
      }
      for (; i < end; ++i) {
        sum = ForItems(SumOf(), sum, Load<kPack>(row(i), true));
      }
      Store(sum, to, true);
    });
  });
}

void EmbeddingBackward(In ids, In dy, Out dw) {
  const int64_t n = ids.numel();
  if (n == 0) return;
  const SortedIds sorted = SortIds(ids);
  DispatchF32OrBf16(dy.dtype(), "embedding gradient", [&](auto from) {
    DispatchF32OrBf16(dw->dtype(), "embedding gradient", [&](auto to) {
      using T = decltype(from);
      using U = decltype(to);
      constexpr int kPack = kPackOf<T, U>;
      const bool packs =
          AlignedForPacks(kPack, dw->dim(1), dy.data<T>(), dw->data<U>());
      Launch(dw->device(),
             GridForRows(n, dw->dim(1) / (packs ? kPack : 1), dw->device()),
             packs ? EmbeddingGradKernel<kPack, T, U>
                   : EmbeddingGradKernel<1, T, U>,
             n, dw->dim(1), dw->dim(0), sorted.ids.data<int32_t>(),
             sorted.positions.data<int32_t>(), dy.data<T>(), dw->data<U>());
    });
  });
}

[[maybe_unused]] const bool registered =
    embedding.Register(DeviceType::kCuda, EmbeddingForward) &&
    embedding_grad.Register(DeviceType::kCuda, EmbeddingBackward);

}  // namespace
}  // namespace nextword::kernels::cuda
