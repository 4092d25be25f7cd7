// Layout: permutations, ranges along an axis, rows of an embedding. Memory
// traffic only, so one version serves every instruction set.
#include <algorithm>
#include <cstring>
#include <vector>

#include "autograd/base/check.h"
#include "autograd/kernels/cpu/loops.h"
#include "autograd/kernels/kernels.h"

namespace nextword::kernels {
namespace {

// Strides of x in the order of y's dimensions.
std::vector<int64_t> PermutedStrides(const Shape& x,
                                     const std::vector<int>& order) {
  std::vector<int64_t> strides;
  for (int axis : order) strides.push_back(x.NumelAfter(axis));
  return strides;
}

// y[i] = x[i * stride] for one innermost run of y.
template <typename T>
void GatherRun(const T* x, int64_t stride, T* y, int64_t n) {
  if (stride == 1) {
    std::memcpy(y, x, n * sizeof(T));
  } else {
    for (int64_t i = 0; i < n; ++i) y[i] = x[i * stride];
  }
}

template <typename T>
void PermuteAs(In x, const std::vector<int>& order, Out y) {
  const T* const px = static_cast<const T*>(x.raw_data());
  T* const py = static_cast<T*>(y->raw_data());
  const Shape& shape = y->shape();
  const std::vector<int64_t> strides = PermutedStrides(x.shape(), order);
  const int last = shape.rank() - 1;
  const int64_t run = shape[last];
  const int64_t runs = y->numel() / run;
  ParallelFor(runs, RowsPerTask(run), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      int64_t rest = r, offset = 0;
      for (int axis = last - 1; axis >= 0; --axis) {
        offset += rest % shape[axis] * strides[axis];
        rest /= shape[axis];
      }
      GatherRun(px + offset, strides[last], py + r * run, run);
    }
  });
}

void Permute(In x, const std::vector<int>& order, Out y) {
  if (x.numel() == 0) return;
  if (x.shape().rank() == 0) return copy(x, y);
  switch (DTypeSize(x.dtype())) {
    case 2:
      return PermuteAs<uint16_t>(x, order, y);
    case 4:
      return PermuteAs<uint32_t>(x, order, y);
    default:
      return PermuteAs<uint64_t>(x, order, y);
  }
}

void CopyRange(In x, int axis, int64_t from, Out y, int64_t to, int64_t count) {
  const int64_t before = x.shape().NumelBefore(axis);
  const int64_t row_bytes =
      x.shape().NumelAfter(axis) * static_cast<int64_t>(DTypeSize(x.dtype()));
  const int64_t x_bytes = x.dim(axis) * row_bytes;
  const int64_t y_bytes = y->dim(axis) * row_bytes;
  const char* const px =
      static_cast<const char*>(x.raw_data()) + from * row_bytes;
  char* const py = static_cast<char*>(y->raw_data()) + to * row_bytes;
  const int64_t bytes = count * row_bytes;
  if (bytes == 0) return;
  ParallelFor(before, RowsPerTask(bytes / 4), [=](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      std::memcpy(py + i * y_bytes, px + i * x_bytes, bytes);
    }
  });
}

void CheckId(int64_t id, In w) {
  NW_CHECK(id >= 0 && id < w.dim(0))
      << "embedding: id " << id << " outside of weight " << w;
}

// Rows of a bf16 table as float.
void WidenRows(In w, In ids, Out y) {
  const int32_t* const pi = ids.data<int32_t>();
  const int64_t columns = w.dim(1);
  const BFloat16* const pw = w.data<BFloat16>();
  float* const py = y->data<float>();
  ParallelFor(ids.numel(), RowsPerTask(columns),
              [&](int64_t begin, int64_t end) {
                for (int64_t i = begin; i < end; ++i) {
                  CheckId(pi[i], w);
                  std::copy_n(pw + pi[i] * columns, columns, py + i * columns);
                }
              });
}

void EmbeddingForward(In w, In ids, Out y) {
  if (w.dtype() != y->dtype()) return WidenRows(w, ids, y);
  const int32_t* const pi = ids.data<int32_t>();
  const int64_t bytes = w.dim(1) * static_cast<int64_t>(DTypeSize(w.dtype()));
  const char* const pw = static_cast<const char*>(w.raw_data());
  char* const py = static_cast<char*>(y->raw_data());
  ParallelFor(ids.numel(), RowsPerTask(w.dim(1)),
              [&](int64_t begin, int64_t end) {
                for (int64_t i = begin; i < end; ++i) {
                  CheckId(pi[i], w);
                  std::memcpy(py + i * bytes, pw + pi[i] * bytes, bytes);
                }
              });
}

// Tasks share columns, not rows: within a column, positions add in order.
void EmbeddingBackward(In ids, In dy, Out dw) {
  const int32_t* const pi = ids.data<int32_t>();
  const int64_t n = ids.numel();
  const int64_t columns = dw->dim(1);
  for (int64_t i = 0; i < n; ++i) CheckId(pi[i], *dw);
  DispatchFloat(dy.dtype(), "embedding gradient", [&](auto tag) {
    using T = decltype(tag);
    DispatchFloat(dw->dtype(), "embedding gradient", [&](auto out) {
      using U = decltype(out);
      using C = ComputeType<U>;
      const T* const pdy = dy.data<T>();
      U* const pdw = dw->data<U>();
      ParallelFor(columns, 64, [=](int64_t begin, int64_t end) {
        for (int64_t i = 0; i < n; ++i) {
          const T* const from = pdy + i * columns;
          U* const to = pdw + pi[i] * columns;
          for (int64_t c = begin; c < end; ++c) {
            to[c] =
                static_cast<U>(static_cast<C>(to[c]) + static_cast<C>(from[c]));
          }
        }
      });
    });
  });
}

void ScatterLast(In index, In x, Out y) {
  const int64_t columns = y->dim(-1);
  const int32_t* const pi = index.data<int32_t>();
  DispatchFloat(x.dtype(), "scatter_last", [&](auto tag) {
    using T = decltype(tag);
    const T* const px = x.data<T>();
    T* const py = y->data<T>();
    for (int64_t r = 0; r < x.numel(); ++r) py[r * columns + pi[r]] = px[r];
  });
}

[[maybe_unused]] const bool registered =
    scatter_last.Register(DeviceType::kCpu, ScatterLast) &&
    permute.Register(DeviceType::kCpu, Permute) &&
    copy_range.Register(DeviceType::kCpu, CopyRange) &&
    embedding.Register(DeviceType::kCpu, EmbeddingForward) &&
    embedding_grad.Register(DeviceType::kCpu, EmbeddingBackward);

}  // namespace
}  // namespace nextword::kernels
