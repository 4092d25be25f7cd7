// Filling, copying, converting and adding tensors; random values.
#include <algorithm>
#include <cmath>
#include <vector>

#include "autograd/kernels/cuda/device_loops.h"
#include "autograd/kernels/cuda/launch.h"
#include "autograd/kernels/cuda/packs.h"

namespace nextword::kernels::cuda {
namespace {

template <typename T>
__global__ void FillKernel(int64_t n, T value, T* y) {
  ForEachItem(n, [=](int64_t i) { y[i] = value; });
}

template <typename T>
void FillAs(Out y, T value) {
  Launch(y->device(), GridForItems(y->numel(), y->device()), FillKernel<T>,
         y->numel(), value, y->data<T>());
}

void Fill(Out y, double value) {
  if (value == 0 && !std::signbit(value)) {
    NW_CUDA_CHECK(cudaMemsetAsync(y->raw_data(), 0, y->size_bytes(),
                                  StreamOf(y->device())));
    return;
  }
  if (y->dtype() == DType::kI32) {
    return FillAs(y, static_cast<int32_t>(value));
  }
  if (y->dtype() == DType::kF64) return FillAs(y, value);
  DispatchF32OrBf16(y->dtype(), "fill", [&](auto tag) {
    FillAs(y, static_cast<decltype(tag)>(static_cast<float>(value)));
  });
}

struct Same {
  NW_DEVICE float operator()(float x) const { return x; }
};

void Copy(In x, Out y) {
  if (x.dtype() == y->dtype()) {
    NW_CUDA_CHECK(cudaMemcpyAsync(y->raw_data(), x.raw_data(), x.size_bytes(),
                                  cudaMemcpyDeviceToDevice,
                                  StreamOf(y->device())));
    return;
  }
  const auto copy_from = [&](auto from) {
    DispatchF32OrBf16(y->dtype(), "copy", [&](auto to) {
      Map(y->device(), x.numel(), Same(), y->data<decltype(to)>(),
          x.data<decltype(from)>());
    });
  };
  if (IsFloat8(x.dtype())) return DispatchFloat8(x.dtype(), "copy", copy_from);
  DispatchF32OrBf16(x.dtype(), "copy", copy_from);
}

struct Plus {
  NW_DEVICE float operator()(float y, float x) const { return y + x; }
};

// Of sums that are kept in double, such as those of squares.
__global__ void AccumulateDoubleKernel(int64_t n, const double* x, double* y) {
  ForEachItem(n, [=](int64_t i) { y[i] += x[i]; });
}

void Accumulate(In x, Out y) {
  if (x.dtype() == DType::kF64 && y->dtype() == DType::kF64) {
    Launch(y->device(), GridForItems(x.numel(), y->device()),
           AccumulateDoubleKernel, x.numel(), x.data<double>(),
           y->data<double>());
    return;
  }
  DispatchF32OrBf16(x.dtype(), "accumulate", [&](auto from) {
    DispatchF32OrBf16(y->dtype(), "accumulate", [&](auto to) {
      using U = decltype(to);
      const U* const sum = y->data<U>();
      Map(y->device(), x.numel(), Plus(), y->data<U>(), sum,
          x.data<decltype(from)>());
    });
  });
}

// Of as many as the parameters of a launch hold.
constexpr size_t kMaxTensors = 128;
struct Sums {
  const float* x[kMaxTensors];
  float* y[kMaxTensors];
  int64_t sizes[kMaxTensors];
};

__global__ void AccumulateEachKernel(int64_t count,
                                     const NW_GRID_CONSTANT Sums sums) {
  for (int64_t t = blockIdx.x; t < count; t += gridDim.x) {
    const float* const x = sums.x[t];
    float* const y = sums.y[t];
    ForEachInBlock(sums.sizes[t], [=](int64_t i) { y[i] += x[i]; });
  }
}

void AccumulateEach(const std::vector<Tensor>& x,
                    const std::vector<Tensor>& y) {
  for (size_t first = 0; first < x.size(); first += kMaxTensors) {
    const size_t count = std::min(kMaxTensors, x.size() - first);
    Sums sums = {};
    int64_t largest = 0;
    for (size_t i = 0; i < count; ++i) {
      sums.x[i] = x[first + i].data<float>();
      sums.y[i] = y[first + i].data<float>();
      sums.sizes[i] = x[first + i].numel();
      largest = std::max(largest, sums.sizes[i]);
    }
    const Device device = y.front().device();
    const auto tensors = static_cast<int64_t>(count);
    constexpr int64_t kMaxThreads = 1024;  // One load after the other is slow.
    Launch(device, GridForRows(tensors, largest, device, kMaxThreads),
           AccumulateEachKernel, tensors, sums);
  }
}

struct PlusTimes {
  NW_DEVICE float operator()(float y, float x) const { return y + *factor * x; }

  const float* factor;
};

void AccumulateScaled(In a, In x, Out y) {
  NW_CHECK(a.dtype() == y->dtype() && a.numel() == 1)
      << "accumulate_scaled by " << a << " into " << *y;
  DispatchF32OrBf16(x.dtype(), "accumulate_scaled", [&](auto from) {
    const float* const sum = y->data<float>();
    Map(y->device(), x.numel(), PlusTimes{a.data<float>()}, y->data<float>(),
        sum, x.data<decltype(from)>());
  });
}

// Box-Muller, as on the CPU: two normal values from two uniform ones.
template <typename T>
__global__ void NormalKernel(int64_t n, RandomKey key, double std, T* y) {
  ForEachItem((n + 3) / 4, [=](int64_t block) {
    const PhiloxBlock words = RandomWords(key, static_cast<uint32_t>(block));
    for (int i = 0; i < 4; i += 2) {
      const double radius = std * ::sqrt(-2.0 * ::log(UniformOpen(words.v[i])));
      const double angle = 2 * M_PI * UniformOpen(words.v[i + 1]);
      const int64_t at = 4 * block + i;
      if (at < n)
        y[at] = static_cast<T>(static_cast<float>(radius * ::cos(angle)));
      if (at + 1 < n) {
        y[at + 1] = static_cast<T>(static_cast<float>(radius * ::sin(angle)));
      }
    }
  });
}

void Normal(Out y, RandomKey key, double std) {
  DispatchF32OrBf16(y->dtype(), "normal", [&](auto tag) {
    using T = decltype(tag);
    Launch(y->device(), GridForItems((y->numel() + 3) / 4, y->device()),
           NormalKernel<T>, y->numel(), key, std, y->data<T>());
  });
}

// Blocks of four elements, each of one call of the generator.
template <typename T>
__global__ void DropoutKernel(int64_t samples, int64_t n, float p,
                              RandomKey key, bool aligned, const T* x, T* y) {
  const float factor = 1.0f / (1.0f - p);
  const int64_t blocks = (n + 3) / 4;
  ForEachItem(samples * blocks, [=](int64_t item) {
    const int64_t sample = item / blocks, block = item % blocks;
    RandomKey sample_key = key;
    sample_key.sample += static_cast<uint32_t>(sample);
    const PhiloxBlock words =
        RandomWords(sample_key, static_cast<uint32_t>(block));
    const auto drop = [=](float item, uint32_t word) {
      return UniformFloat(word) >= p ? item * factor : 0.0f;
    };
    const int64_t at = sample * n + 4 * block;
    if (aligned) {
      Floats<4> pack = Load<4>(x + at, true);
      for (int i = 0; i < 4; ++i) {
        pack.items[i] = drop(pack.items[i], words.v[i]);
      }
      Store(pack, y + at, true);
      return;
    }
    for (int i = 0; i < 4 && 4 * block + i < n; ++i) {
      y[at + i] =
          static_cast<T>(drop(static_cast<float>(x[at + i]), words.v[i]));
    }
  });
}

void Dropout(In x, double p, RandomKey key, Out y) {
  const int64_t n = x.shape().NumelAfter(0);
  DispatchF32OrBf16(x.dtype(), "dropout", [&](auto tag) {
    using T = decltype(tag);
    Launch(y->device(), GridForItems(x.dim(0) * ((n + 3) / 4), y->device()),
           DropoutKernel<T>, x.dim(0), n, static_cast<float>(p), key,
           AlignedForPacks(4, n, x.data<T>(), y->data<T>()), x.data<T>(),
           y->data<T>());
  });
}

[[maybe_unused]] const bool registered =
    fill.Register(DeviceType::kCuda, Fill) &&
    copy.Register(DeviceType::kCuda, Copy) &&
    accumulate.Register(DeviceType::kCuda, Accumulate) &&
    accumulate_each.Register(DeviceType::kCuda, AccumulateEach) &&
    accumulate_scaled.Register(DeviceType::kCuda, AccumulateScaled) &&
    normal.Register(DeviceType::kCuda, Normal) &&
    dropout.Register(DeviceType::kCuda, Dropout);

}  // namespace
}  // namespace nextword::kernels::cuda
