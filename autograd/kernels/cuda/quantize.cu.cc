// Rounding to eight-bit floats.
#include "autograd/kernels/cuda/device_loops.h"
#include "autograd/kernels/cuda/launch.h"
#include "autograd/kernels/cuda/packs.h"
#include "autograd/kernels/quantization.h"

namespace nextword::kernels::cuda {
namespace {

// The largest magnitude, whose order does not matter, of what a block sees
// goes into *largest, which begins as 0.
template <typename T>
__global__ void LargestKernel(int64_t n, bool aligned, const T* x,
                              uint32_t* largest) {
  uint32_t mine = 0;
  ForEachPack<kPackOf<T>>(n, [&](int64_t i, auto size) {
    constexpr int kSize = decltype(size)::value;
    const Floats<kSize> pack = Load<kSize>(x + i, aligned);
    for (int k = 0; k < kSize; ++k) {
      mine = MaxOf()(mine, MagnitudeBits(pack.items[k]));
    }
  });
  mine = CombineBlock(mine, MaxOf());
  if (threadIdx.x == 0) atomicMax(largest, mine);
}

// The bits of the largest magnitude become the scale, in their place.
__global__ void ScaleKernel(float largest, float* scale) {
  if (threadIdx.x != 0) return;
  *scale = QuantizationScale(MagnitudeBits(*scale), largest);
}

template <typename T, typename U>
__global__ void QuantizeKernel(int64_t n, bool aligned, const T* x,
                               const float* scale, U* y) {
  const float inverse = 1 / *scale;
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
                                   const T* x, const float* scale, U* y,
                                   U* yt) {
  constexpr int kPack = 4;
  constexpr int kRowPacks = kSquare / kPack;
  // Bytes; padded, so that a column's are spread over the banks.
  __shared__ uint8_t square[kSquare][kSquare + kPack];
  const float inverse = 1 / *scale;
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
  float* const factor = scale->data<float>();
  const T* const px = x.data<T>();
  fill.AsPart(scale, 0);
  Launch(device, GridForItems(n / kPackOf<T>, device), LargestKernel<T>, n,
         AlignedForPacks(kPackOf<T>, 0, px), px,
         reinterpret_cast<uint32_t*>(factor));
  Launch(device, {1, 32}, ScaleKernel, U::kLargest, factor);
  if (n == 0) return;
  if (!yt->defined()) {
    constexpr int kPack = kPackOf<U>;
    Launch(device, GridForItems(n / kPack, device), QuantizeKernel<T, U>, n,
           AlignedForPacks(kPack, 0, px, y->data<U>()), px, factor,
           y->data<U>());
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
         QuantizeBothKernel<T, U>, rows, columns, aligned, px, factor,
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
