// Packs: neighbours in memory that a thread reads, or writes, at once. A GPU's
// memory is at its fastest when each thread moves 16 bytes.
//
// Who adds what does not depend on whether memory is aligned for that: a thread
// has the same elements then, and reads them one by one. Device code, but for
// AlignedForPacks.
#ifndef NEXTWORD_AUTOGRAD_KERNELS_CUDA_PACKS_H_
#define NEXTWORD_AUTOGRAD_KERNELS_CUDA_PACKS_H_

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "autograd/kernels/cuda/device_loops.h"
#include "autograd/kernels/cuda/launch.h"

namespace nextword::kernels::cuda {

// Elements of a pack for kernels over these types: 16 bytes of the narrowest.
template <typename... T>
inline constexpr int kPackOf = 16 / static_cast<int>(std::min({sizeof(T)...}));

template <typename T, int kSize>
struct alignas(std::min<size_t>(16, kSize * sizeof(T))) Pack {
  T items[kSize];
};

// A pack as kernels compute with it.
template <int kSize>
struct Floats {
  float items[kSize];
};

template <int kSize>
using PackSize = std::integral_constant<int, kSize>;

// Whether all of these addresses (or null), and rows of `columns` elements
// behind them, begin where packs of `size` may.
template <typename... T>
bool AlignedForPacks(int size, int64_t columns, const T*... pointers) {
  const auto aligned = [size](const auto* pointer) {
    const size_t wanted = std::min<size_t>(16, size * sizeof(*pointer));
    return reinterpret_cast<uintptr_t>(pointer) % wanted == 0;
  };
  return columns % size == 0 && (aligned(pointers) && ...);
}

template <int kSize, typename T>
NW_DEVICE Pack<T, kSize> LoadPack(const T* from) {
  return *reinterpret_cast<const Pack<T, kSize>*>(from);
}

template <typename T, int kSize>
NW_DEVICE Floats<kSize> ToFloats(const Pack<T, kSize>& pack) {
  Floats<kSize> to;
  for (int k = 0; k < kSize; ++k) {
    to.items[k] = static_cast<float>(pack.items[k]);
  }
  return to;
}

template <int kSize, typename T>
NW_DEVICE Floats<kSize> Load(const T* from, bool aligned) {
  Floats<kSize> to;
  if (aligned) {
    to = ToFloats(LoadPack<kSize>(from));
  } else {
    for (int k = 0; k < kSize; ++k) to.items[k] = static_cast<float>(from[k]);
  }
  return to;
}

template <int kSize, typename T>
NW_DEVICE void Store(const Floats<kSize>& from, T* to, bool aligned) {
  Pack<T, kSize> pack;
  for (int k = 0; k < kSize; ++k) {
    pack.items[k] = static_cast<T>(from.items[k]);
  }
  if (aligned) {
    *reinterpret_cast<Pack<T, kSize>*>(to) = pack;
  } else {
    for (int k = 0; k < kSize; ++k) to[k] = pack.items[k];
  }
}

// f(a[k], b[k], ...) for each item of packs.
template <typename F, int kSize, typename... Rest>
NW_DEVICE Floats<kSize> ForItems(const F& f, const Floats<kSize>& first,
                                 const Rest&... rest) {
  Floats<kSize> to;
  for (int k = 0; k < kSize; ++k) {
    to.items[k] = f(first.items[k], rest.items[k]...);
  }
  return to;
}

// Item by item, as CombineBlock wants it.
template <int kSize>
NW_DEVICE Floats<kSize> operator+(const Floats<kSize>& a,
                                  const Floats<kSize>& b) {
  return ForItems(SumOf(), a, b);
}

// Calls f(i, PackSize<kSize>()) for the packs [i, i + kSize) of [0, n), spread
// over the threads of the whole grid, and f(i, PackSize<1>()) for those that
// remain.
template <int kSize, typename F>
NW_DEVICE void ForEachPack(int64_t n, const F& f) {
  const int64_t whole = n / kSize;
  ForEachItem(whole, [&](int64_t i) { f(i * kSize, PackSize<kSize>()); });
  if constexpr (kSize > 1) {
    ForEachItem(n - whole * kSize,
                [&](int64_t i) { f(whole * kSize + i, PackSize<1>()); });
  }
}

// The same over the threads of the block.
template <int kSize, typename F>
NW_DEVICE void ForEachPackInBlock(int64_t n, const F& f) {
  const int64_t whole = n / kSize;
  ForEachInBlock(whole, [&](int64_t i) { f(i * kSize, PackSize<kSize>()); });
  if constexpr (kSize > 1) {
    ForEachInBlock(n - whole * kSize,
                   [&](int64_t i) { f(whole * kSize + i, PackSize<1>()); });
  }
}

// The sum over a block of f(i, size), packs of C's, at each of its threads.
template <typename C, int kSize, typename F>
NW_DEVICE C BlockSumOfPacks(int64_t n, const F& f) {
  C sum = 0;
  ForEachPackInBlock<kSize>(n, [&](int64_t i, auto size) {
    const auto pack = f(i, size);
    for (int k = 0; k < size; ++k) sum += pack.items[k];
  });
  return CombineBlock(sum, SumOf());
}

// y[i] = f(x[i], ...); y may be one of the x.
template <typename F, typename Y, typename... X>
__global__ void MapKernel(int64_t n, bool aligned, F f, Y* y, const X*... x) {
  ForEachPack<kPackOf<Y, X...>>(n, [=](int64_t i, auto size) {
    constexpr int kSize = decltype(size)::value;
    Store(ForItems(f, Load<kSize>(x + i, aligned)...), y + i, aligned);
  });
}

// F computes on floats, on the device.
template <typename F, typename Y, typename... X>
void Map(Device device, int64_t n, const F& f, Y* y, const X*... x) {
  constexpr int kPack = kPackOf<Y, X...>;
  Launch(device, GridForItems(n / kPack, device), MapKernel<F, Y, X...>, n,
         AlignedForPacks(kPack, 0, y, x...), f, y, x...);
}

}  // namespace nextword::kernels::cuda

#endif  // NEXTWORD_AUTOGRAD_KERNELS_CUDA_PACKS_H_
