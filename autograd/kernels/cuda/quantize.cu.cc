// Rounding to eight-bit floats, of tensors and of what is computed from them on
// the way.
#include <algorithm>

#include "autograd/kernels/cuda/device_loops.h"
#include "autograd/kernels/cuda/launch.h"
#include "autograd/kernels/cuda/packs.h"
#include "autograd/kernels/functors.h"
#include "autograd/kernels/quantization.h"

namespace nextword::kernels::cuda {
namespace {

// Squares of kSquare by kSquare elements, a block for each; a thread has kPack
// rows and columns of it, which it turns in its registers.
constexpr int kSquare = 64;
constexpr int kPack = 4;
constexpr int kPacks = kSquare / kPack;
static_assert(kPacks * kPacks == kThreads);

NW_HOST_DEVICE int64_t Squares(int64_t size) {
  return (size + kSquare - 1) / kSquare;
}

// What is rounded: kSize elements from number `at` on.
template <typename T>
struct Itself {
  template <int kSize>
  NW_DEVICE Floats<kSize> Get(int64_t at, bool aligned) const {
    return Load<kSize>(x + at, aligned);
  }

  const T* x;
};

template <typename T>
struct GeluTanhOf {
  template <int kSize>
  NW_DEVICE Floats<kSize> Get(int64_t at, bool aligned) const {
    return ForItems([](float p) { return functors::GeluTanh::Value(p); },
                    Load<kSize>(pre + at, aligned));
  }

  const T* pre;
};

template <typename T>
struct GeluTanhGradOf {
  template <int kSize>
  NW_DEVICE Floats<kSize> Get(int64_t at, bool aligned) const {
    return ForItems(
        [](float p, float d) { return functors::GeluTanh::Grad(p, d); },
        Load<kSize>(pre + at, aligned), Load<kSize>(dy + at, aligned));
  }

  const T* pre;
  const T* dy;
};

struct Matrix {
  int64_t rows, columns;
};

// A thread's part of a square: kPack rows and columns from `row` and `column`
// on, as far as the matrix goes. Where it and all that is made of it is aligned
// for packs, that is all of them, or none.
template <bool kAligned>
struct Part {
  NW_DEVICE bool inside() const { return row < m.rows && column < m.columns; }

  // Calls f(j, k) for those elements that are in the matrix. Loops of fixed
  // length, for what f indexes is to stay in registers.
  template <typename F>
  NW_DEVICE void ForEach(const F& f) const {
    for (int j = 0; j < kPack; ++j) {
      for (int k = 0; k < kPack; ++k) {
        if (row + j < m.rows && column + k < m.columns) f(j, k);
      }
    }
  }

  // Zeros beyond the matrix.
  template <typename Source>
  NW_DEVICE void Get(const Source& source, Floats<kPack> (&to)[kPack]) const {
    for (int j = 0; j < kPack; ++j) to[j] = {};
    if (!inside()) return;
    const int64_t at = row * m.columns + column;
    if constexpr (kAligned) {
      for (int j = 0; j < kPack; ++j) {
        to[j] = source.template Get<kPack>(at + j * m.columns, true);
      }
    } else {
      ForEach([&](int j, int k) {
        to[j].items[k] =
            source.template Get<1>(at + j * m.columns + k, false).items[0];
      });
    }
  }

  NW_DEVICE void Put(const Pack<uint8_t, kPack> (&from)[kPack],
                     uint8_t* to) const {
    if (!inside()) return;
    to += row * m.columns + column;
    if constexpr (kAligned) {
      for (int j = 0; j < kPack; ++j) {
        *reinterpret_cast<Pack<uint8_t, kPack>*>(to + j * m.columns) = from[j];
      }
    } else {
      ForEach([&](int j, int k) { to[j * m.columns + k] = from[j].items[k]; });
    }
  }

  Matrix m;
  int64_t row, column;
};

// Sums of a square's columns, of which each thread has kPack rows.
NW_DEVICE void StoreColumnSums(Floats<kPack> mine, int64_t left, float* to) {
  constexpr int kWarps = kThreads / kWarp;
  __shared__ float sums[kWarps][kSquare];
  // A warp has two rows of threads.
  static_assert(kWarp == 2 * kPacks);
  mine = mine + Exchange(mine, kPacks);
  const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
  __syncthreads();  // The sums of the square before are read.
  for (int k = 0; k < kPack && lane < kPacks; ++k) {
    sums[warp][lane * kPack + k] = mine.items[k];
  }
  __syncthreads();
  ForEachInBlock(left < kSquare ? left : kSquare, [&](int64_t column) {
    float sum = 0;
    for (int w = 0; w < kWarps; ++w) sum += sums[w][column];
    to[column] = sum;
  });
}

struct Results {
  const float* scale;
  uint8_t* y;
  // Optional: the transpose; the bits of the largest magnitude; sums of the
  // columns of each row of squares [squares, columns].
  uint8_t* yt;
  uint32_t* largest;
  float* sums;
};

template <bool kAligned, typename Source, typename U>
__global__ void QuantizeKernel(Matrix m, Source source, U /*to*/,
                               Results results) {
  // Its columns; padded, so that they are spread over the banks.
  __shared__ Pack<uint8_t, kPack> turned[kSquare][kPacks + 1];
  const float inverse = 1 / *results.scale;
  const int across = threadIdx.x % kPacks, down = threadIdx.x / kPacks;
  const int64_t squares_across = Squares(m.columns);
  const int64_t squares = Squares(m.rows) * squares_across;
  uint32_t largest = 0;
  ForEachRow(squares, [&](int64_t square) {
    // Of 2^44 elements, numbers of squares have 32 bits, whose division is a
    // quarter of the work.
    const int64_t row_of_squares =
        static_cast<uint32_t>(square) / static_cast<uint32_t>(squares_across);
    const int64_t first_row = row_of_squares * kSquare;
    const int64_t first_column =
        (square - row_of_squares * squares_across) * kSquare;
    const Part<kAligned> part{m, first_row + down * kPack,
                              first_column + across * kPack};
    Floats<kPack> elements[kPack];
    part.Get(source, elements);
    Pack<uint8_t, kPack> rows[kPack], columns[kPack];
    Floats<kPack> sums = {};
    for (int j = 0; j < kPack; ++j) {
      for (int k = 0; k < kPack; ++k) {
        const float x = elements[j].items[k];
        largest = MaxOf()(largest, MagnitudeBits(x));
        sums.items[k] += x;
        rows[j].items[k] = U(x * inverse).bits;
        columns[k].items[j] = rows[j].items[k];
      }
    }
    part.Put(rows, results.y);
    if (results.sums != nullptr) {
      StoreColumnSums(sums, m.columns - first_column,
                      results.sums + row_of_squares * m.columns + first_column);
    }
    if (results.yt == nullptr) return;
    __syncthreads();  // The square before is read.
    for (int k = 0; k < kPack; ++k) {
      turned[across * kPack + k][down] = columns[k];
    }
    __syncthreads();
    // A part of the transpose, in which neighbours write to neighbours.
    Part<kAligned> turned_part{{m.columns, m.rows},
                               first_column + down * kPack,
                               first_row + across * kPack};
    for (int k = 0; k < kPack; ++k) {
      rows[k] = turned[down * kPack + k][across];
    }
    turned_part.Put(rows, results.yt);
  });
  if (results.largest == nullptr) return;
  largest = CombineBlock(largest, MaxOf());
  // Of whole numbers: the same in any order.
  if (threadIdx.x == 0) atomicMax(results.largest, largest);
}

template <typename Source, typename... T>
void QuantizeFrom(const Source& source, In x, In scale, Out y, Out yt,
                  Out largest, Out sum, const T*... from) {
  const Device device = y->device();
  const int64_t rows = x.dim(0), columns = x.dim(1);
  Tensor sums;
  if (sum->defined()) {
    sums = Empty({Squares(rows), columns}, DType::kF32, device);
  }
  const auto bytes = [](Out to) {
    return to->defined() ? static_cast<uint8_t*>(to->raw_data()) : nullptr;
  };
  const Results results{scale.data<float>(), bytes(y), bytes(yt),
                        largest->defined()
                            ? reinterpret_cast<uint32_t*>(largest->raw_data())
                            : nullptr,
                        sums.defined() ? sums.data<float>() : nullptr};
  const bool aligned = AlignedForPacks(kPack, columns, results.y, from...) &&
                       AlignedForPacks(kPack, rows, results.yt);
  Grid grid = GridForRows(Squares(rows) * Squares(columns), kThreads, device);
  // As many as run at once, by their registers: each of them ends with an
  // exchange of the largest.
  grid.blocks = std::min(grid.blocks, int64_t{6} * NumMultiprocessors(device));
  DispatchFloat8(y->dtype(), "quantize", [&](auto to) {
    using U = decltype(to);
    Launch(device, grid,
           aligned ? QuantizeKernel<true, Source, U>
                   : QuantizeKernel<false, Source, U>,
           Matrix{rows, columns}, source, to, results);
  });
  if (sums.defined()) sum_to.AsPart(sums, sum);
}

void Quantize(In x, In scale, Out y, Out yt, Out largest, Out sum) {
  DispatchF32OrBf16(x.dtype(), "quantize", [&](auto tag) {
    const auto* const px = x.data<decltype(tag)>();
    QuantizeFrom(Itself<decltype(tag)>{px}, x, scale, y, yt, largest, sum, px);
  });
}

void QuantizeGeluTanh(In pre, In scale, Out y, Out yt, Out largest) {
  DispatchF32OrBf16(pre.dtype(), "quantize_gelu_tanh", [&](auto tag) {
    const auto* const p = pre.data<decltype(tag)>();
    Tensor none;
    QuantizeFrom(GeluTanhOf<decltype(tag)>{p}, pre, scale, y, yt, largest,
                 &none, p);
  });
}

void QuantizeGeluTanhGrad(In pre, In dy, In scale, Out dx, Out dxt, Out largest,
                          Out sum) {
  DispatchF32OrBf16(pre.dtype(), "quantize_gelu_tanh_grad", [&](auto tag) {
    const auto* const p = pre.data<decltype(tag)>();
    const auto* const d = dy.data<decltype(tag)>();
    QuantizeFrom(GeluTanhGradOf<decltype(tag)>{p, d}, pre, scale, dx, dxt,
                 largest, sum, p, d);
  });
}

// Blocks, at the most, that look for the largest magnitude.
constexpr int64_t kMaxSeen = 512;

// seen[block] = the bits of the largest magnitude of its share.
template <typename T>
__global__ void LargestKernel(int64_t n, bool aligned, const T* x,
                              uint32_t* seen) {
  uint32_t mine = 0;
  ForEachPack<kPackOf<T>>(n, [&](int64_t i, auto size) {
    constexpr int kSize = decltype(size)::value;
    const Floats<kSize> pack = Load<kSize>(x + i, aligned);
    for (int k = 0; k < kSize; ++k) {
      mine = MaxOf()(mine, MagnitudeBits(pack.items[k]));
    }
  });
  mine = CombineBlock(mine, MaxOf());
  if (threadIdx.x == 0) seen[blockIdx.x] = mine;
}

__global__ void ScaleKernel(int64_t n, const uint32_t* seen, float largest,
                            float* scale) {
  const uint32_t bits =
      BlockMax<uint32_t>(n, 0, [=](int64_t i) { return seen[i]; });
  if (threadIdx.x == 0) *scale = QuantizationScale(bits, largest);
}

void FindQuantizationScale(In x, DType to, Out scale) {
  const Device device = x.device();
  const int64_t n = x.numel();
  DispatchF32OrBf16(x.dtype(), "quantization_scale", [&](auto tag) {
    using T = decltype(tag);
    Grid grid = GridForItems(n / kPackOf<T>, device);
    grid.blocks = std::min(grid.blocks, kMaxSeen);
    const Tensor seen = Empty({grid.blocks}, DType::kI32, device);
    uint32_t* const pseen = reinterpret_cast<uint32_t*>(seen.raw_data());
    Launch(device, grid, LargestKernel<T>, n,
           AlignedForPacks(kPackOf<T>, 0, x.data<T>()), x.data<T>(), pseen);
    Launch(device, Grid{1}, ScaleKernel, grid.blocks, pseen, LargestNumber(to),
           scale->data<float>());
  });
}

[[maybe_unused]] const bool registered =
    quantization_scale.Register(DeviceType::kCuda, FindQuantizationScale) &&
    quantize.Register(DeviceType::kCuda, Quantize) &&
    quantize_gelu_tanh.Register(DeviceType::kCuda, QuantizeGeluTanh) &&
    quantize_gelu_tanh_grad.Register(DeviceType::kCuda, QuantizeGeluTanhGrad);

}  // namespace
}  // namespace nextword::kernels::cuda
