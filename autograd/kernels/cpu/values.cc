// Filling, copying, converting and adding tensors; random values.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "autograd/kernels/cpu/values.cc"
#include "hwy/foreach_target.h"

#include <cmath>
#include <cstring>
#include <type_traits>
#include <vector>

#include "autograd/kernels/cpu/loops.h"
#include "autograd/kernels/cpu/register.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace nextword::kernels {
namespace HWY_NAMESPACE {

template <typename T>
void FillAs(Out y, T value) {
  T* const py = y->data<T>();
  ParallelFor(y->numel(), kChunk, [=](int64_t begin, int64_t end) {
    std::fill(py + begin, py + end, value);
  });
}

void Fill(Out y, double value) {
  if (y->dtype() == DType::kI32) {
    return FillAs(y, static_cast<int32_t>(value));
  }
  DispatchFloat(y->dtype(), "fill", [&](auto tag) {
    FillAs(y, static_cast<decltype(tag)>(value));
  });
}

void CopyBytes(In x, Out y) {
  const char* const px = static_cast<const char*>(x.raw_data());
  char* const py = static_cast<char*>(y->raw_data());
  constexpr int64_t kBytes = int64_t{1} << 18;
  ParallelFor(x.size_bytes(), kBytes, [=](int64_t begin, int64_t end) {
    std::memcpy(py + begin, px + begin, end - begin);
  });
}

void Copy(In x, Out y) {
  if (x.dtype() == y->dtype()) return CopyBytes(x, y);
  const auto copy_from = [&](auto from) {
    DispatchFloat(y->dtype(), "copy", [&](auto to) {
      const auto* const px = x.data<decltype(from)>();
      auto* const py = y->data<decltype(to)>();
      using C = ComputeType<decltype(from)>;
      ParallelFor(x.numel(), kChunk, [=](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
          py[i] = static_cast<decltype(to)>(static_cast<C>(px[i]));
        }
      });
    });
  };
  if (IsFloat8(x.dtype())) return DispatchFloat8(x.dtype(), "copy", copy_from);
  DispatchFloat(x.dtype(), "copy", copy_from);
}

template <typename T, typename U>
void AccumulateRange(const T* __restrict x, U* __restrict y, int64_t n) {
  using C = ComputeType<U>;
  for (int64_t i = 0; i < n; ++i) {
    y[i] = static_cast<U>(static_cast<C>(y[i]) + static_cast<C>(x[i]));
  }
}

void Accumulate(In x, Out y) {
  DispatchFloat(x.dtype(), "accumulate", [&](auto from) {
    DispatchFloat(y->dtype(), "accumulate", [&](auto to) {
      const auto* const px = x.data<decltype(from)>();
      auto* const py = y->data<decltype(to)>();
      ParallelFor(x.numel(), kChunk, [=](int64_t begin, int64_t end) {
        AccumulateRange(px + begin, py + begin, end - begin);
      });
    });
  });
}

void AccumulateEach(const std::vector<Tensor>& x,
                    const std::vector<Tensor>& y) {
  for (size_t i = 0; i < x.size(); ++i) {
    Tensor sum = y[i];
    Accumulate(x[i], &sum);
  }
}

template <typename T, typename U>
void AccumulateScaledRange(U a, const T* __restrict x, U* __restrict y,
                           int64_t n) {
  for (int64_t i = 0; i < n; ++i) y[i] += a * static_cast<U>(x[i]);
}

void AccumulateScaled(In a, In x, Out y) {
  NW_CHECK(a.dtype() == y->dtype() && a.numel() == 1)
      << "accumulate_scaled by " << a << " into " << *y;
  DispatchFloat(x.dtype(), "accumulate_scaled", [&](auto from) {
    DispatchFloat(y->dtype(), "accumulate_scaled", [&](auto to) {
      using U = decltype(to);
      if constexpr (std::is_same_v<U, BFloat16>) {
        NW_CHECK(false) << "accumulate_scaled: sums are not kept in bf16";
      } else {
        const auto* const px = x.data<decltype(from)>();
        U* const py = y->data<U>();
        const U factor = *a.data<U>();
        ParallelFor(x.numel(), kChunk, [=](int64_t begin, int64_t end) {
          AccumulateScaledRange(factor, px + begin, py + begin, end - begin);
        });
      }
    });
  });
}

// Box-Muller: two normal values from two uniform ones.
void Normal(Out y, RandomKey key, double std) {
  DispatchFloat(y->dtype(), "normal", [&](auto tag) {
    using T = decltype(tag);
    T* const py = y->data<T>();
    const int64_t n = y->numel();
    ParallelFor(NumChunks(n, 4), kChunk / 4, [=](int64_t begin, int64_t end) {
      for (int64_t block = begin; block < end; ++block) {
        const PhiloxBlock words =
            RandomWords(key, static_cast<uint32_t>(block));
        double values[4];
        for (int i = 0; i < 4; i += 2) {
          const double radius =
              std * std::sqrt(-2.0 * std::log(UniformOpen(words.v[i])));
          const double angle = 2 * M_PI * UniformOpen(words.v[i + 1]);
          values[i] = radius * std::cos(angle);
          values[i + 1] = radius * std::sin(angle);
        }
        for (int64_t i = 4 * block; i < std::min(n, 4 * block + 4); ++i) {
          py[i] = static_cast<T>(values[i % 4]);
        }
      }
    });
  });
}

template <typename T>
void DropoutSample(const T* x, T* y, int64_t n, const RandomKey& key, float p) {
  using C = ComputeType<T>;
  const C factor = C(1) / (C(1) - static_cast<C>(p));
  for (int64_t i = 0; i < n; i += 4) {
    const PhiloxBlock words = RandomWords(key, static_cast<uint32_t>(i / 4));
    for (int64_t j = i; j < std::min(n, i + 4); ++j) {
      const bool keep = UniformFloat(words.v[j - i]) >= p;
      y[j] = static_cast<T>(keep ? static_cast<C>(x[j]) * factor : C(0));
    }
  }
}

void Dropout(In x, double p, RandomKey key, Out y) {
  const int64_t samples = x.dim(0);
  const int64_t n = x.shape().NumelAfter(0);
  DispatchFloat(x.dtype(), "dropout", [&](auto tag) {
    using T = decltype(tag);
    const T* const px = x.data<T>();
    T* const py = y->data<T>();
    ParallelForEach(samples, [=](int64_t sample) {
      RandomKey sample_key = key;
      sample_key.sample += static_cast<uint32_t>(sample);
      DropoutSample(px + sample * n, py + sample * n, n, sample_key,
                    static_cast<float>(p));
    });
  });
}

}  // namespace HWY_NAMESPACE
}  // namespace nextword::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace nextword::kernels {
namespace {
NW_REGISTER_CPU(fill, Fill);
NW_REGISTER_CPU(copy, Copy);
NW_REGISTER_CPU(accumulate, Accumulate);
NW_REGISTER_CPU(accumulate_each, AccumulateEach);
NW_REGISTER_CPU(accumulate_scaled, AccumulateScaled);
NW_REGISTER_CPU(normal, Normal);
NW_REGISTER_CPU(dropout, Dropout);
}  // namespace
}  // namespace nextword::kernels
#endif  // HWY_ONCE
