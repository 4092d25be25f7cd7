// Rounding to eight-bit floats.
#include <algorithm>

#include "autograd/kernels/cuda/device_loops.h"
#include "autograd/kernels/cuda/launch.h"
#include "autograd/kernels/cuda/packs.h"
#include "autograd/kernels/quantization.h"

namespace nextword::kernels::cuda {
namespace {

// Blocks, at the most, that look for the largest magnitude. What each of them
// saw is looked through by every block that rounds.
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

// What LargestKernel saw, and where the scale goes.
struct Seen {
  const uint32_t* largest;
  int64_t count;
  float* scale;
};

// The scale, at each thread of the block; the first block writes it down.
template <typename U>
NW_DEVICE float ScaleOf(const Seen& seen) {
  const uint32_t largest = BlockMax<uint32_t>(
      seen.count, 0, [&](int64_t i) { return seen.largest[i]; });
  const float scale = QuantizationScale(largest, U::kLargest);
  if (blockIdx.x == 0 && threadIdx.x == 0) *seen.scale = scale;
  return scale;
}

template <typename T, typename U>
__global__ void QuantizeKernel(int64_t n, bool aligned, const T* x, Seen seen,
                               U* y) {
  const float inverse = 1 / ScaleOf<U>(seen);
  ForEachPack<kPackOf<U>>(n, [=](int64_t i, auto size) {
    constexpr int kSize = decltype(size)::value;
    Floats<kSize> pack = Load<kSize>(x + i, aligned);
    for (int k = 0; k < kSize; ++k) pack.items[k] *= inverse;
    Store(pack, y + i, aligned);
  });
}

// Squares of kSquare by kSquare elements, a block for each: read by rows and
// written by rows and, from shared memory, by columns.
constexpr int kSquare = 64;

template <typename T, typename U>
__global__ void QuantizeBothKernel(int64_t rows, int64_t columns, bool aligned,
                                   const T* x, Seen seen, U* y, U* yt) {
  constexpr int kPack = 4;
  constexpr int kRowPacks = kSquare / kPack;
  // Bytes; padded, so that a column's are spread over the banks.
  __shared__ uint8_t square[kSquare][kSquare + kPack];
  const float inverse = 1 / ScaleOf<U>(seen);
  const int64_t across = (columns + kSquare - 1) / kSquare;
  const int64_t squares = (rows + kSquare - 1) / kSquare * across;
  ForEachRow(squares, [=](int64_t item) {
    const int64_t first_row = item / across * kSquare;
    const int64_t first_column = item % across * kSquare;
    ForEachInBlock(kSquare * kRowPacks, [=](int64_t i) {
      const int64_t r = i / kRowPacks, c = i % kRowPacks * kPack;
      const int64_t row = first_row + r, column = first_column + c;
      if (row >= rows || column >= columns) return;
      const int64_t at = row * columns + column;
      const auto store = [=](auto size) {
        constexpr int kSize = decltype(size)::value;
        for (int64_t k = 0; k < kPack && column + k < columns; k += kSize) {
          const Floats<kSize> pack = Load<kSize>(x + at + k, aligned);
          Pack<U, kSize> rounded;
          for (int j = 0; j < kSize; ++j) {
            rounded.items[j] = U(pack.items[j] * inverse);
            square[r][c + k + j] = rounded.items[j].bits;
          }
          *reinterpret_cast<Pack<U, kSize>*>(y + at + k) = rounded;
        }
      };
      if (aligned) {
        store(PackSize<kPack>());
      } else {
        store(PackSize<1>());
      }
    });
    __syncthreads();
    ForEachInBlock(kSquare * kRowPacks, [=](int64_t i) {
      const int64_t c = i / kRowPacks, r = i % kRowPacks * kPack;
      const int64_t row = first_row + r, column = first_column + c;
      if (row >= rows || column >= columns) return;
      Pack<uint8_t, kPack> pack;
      for (int k = 0; k < kPack; ++k) pack.items[k] = square[r + k][c];
      uint8_t* const to = reinterpret_cast<uint8_t*>(yt) + column * rows + row;
      if (aligned) {
        *reinterpret_cast<Pack<uint8_t, kPack>*>(to) = pack;
      } else {
        for (int k = 0; k < kPack && row + k < rows; ++k) to[k] = pack.items[k];
      }
    });
    __syncthreads();  // All have read the square.
  });
}

template <typename T, typename U>
void QuantizeAs(In x, Out scale, Out y, Out yt) {
  const Device device = y->device();
  const int64_t n = x.numel();
  const T* const px = x.data<T>();
  Grid lookers = GridForItems(n / kPackOf<T>, device);
  lookers.blocks = std::min(lookers.blocks, kMaxSeen);
  const Tensor largest = Empty({lookers.blocks}, DType::kI32, device);
  uint32_t* const plargest = reinterpret_cast<uint32_t*>(largest.raw_data());
  Launch(device, lookers, LargestKernel<T>, n,
         AlignedForPacks(kPackOf<T>, 0, px), px, plargest);
  const Seen seen{plargest, lookers.blocks, scale->data<float>()};
  if (!yt->defined()) {
    constexpr int kPack = kPackOf<U>;
    Launch(device, GridForItems(n / kPack, device), QuantizeKernel<T, U>, n,
           AlignedForPacks(kPack, 0, px, y->data<U>()), px, seen, y->data<U>());
    return;
  }
  const int64_t rows = x.dim(0), columns = x.dim(1);
  const bool aligned = AlignedForPacks(4, columns, px, y->data<U>()) &&
                       AlignedForPacks(4, rows, yt->data<U>());
  const auto squares = [](int64_t size) {
    return (size + kSquare - 1) / kSquare;
  };
  Launch(device,
         GridForRows(squares(rows) * squares(columns), kThreads, device),
         QuantizeBothKernel<T, U>, rows, columns, aligned, px, seen,
         y->data<U>(), yt->data<U>());
}

void Quantize(In x, Out scale, Out y, Out yt) {
  DispatchF32OrBf16(x.dtype(), "quantize", [&](auto from) {
    DispatchFloat8(y->dtype(), "quantize", [&](auto to) {
      QuantizeAs<decltype(from), decltype(to)>(x, scale, y, yt);
    });
  });
}

[[maybe_unused]] const bool registered =
    quantize.Register(DeviceType::kCuda, Quantize);

}  // namespace
}  // namespace nextword::kernels::cuda
