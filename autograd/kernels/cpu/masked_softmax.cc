// Softmax of scores of which attention's mask hides some.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "autograd/kernels/cpu/masked_softmax.cc"
#include "hwy/foreach_target.h"

#include <limits>
#include <vector>

#include "autograd/kernels/cpu/loops.h"
#include "autograd/kernels/cpu/register.h"
#include "autograd/kernels/math.h"
#include "autograd/kernels/visibility.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace nextword::kernels {
namespace HWY_NAMESPACE {

// Sets masked entries of query t's scores [keys] to minus infinity.
template <typename C>
void Mask(const Visibility& visibility, int64_t batch, int64_t t, int64_t keys,
          C* scores) {
  constexpr C kMasked = -std::numeric_limits<C>::infinity();
  const KeyRange visible = visibility.Keys(t);
  std::fill(scores, scores + visible.begin, kMasked);
  std::fill(scores + visible.end, scores + keys, kMasked);
  const int32_t* const ids = visibility.Documents(batch);
  if (ids == nullptr) return;
  const int32_t own = ids[t + visibility.offset];
  for (int64_t s = visible.begin; s < visible.end; ++s) {
    if (ids[s] != own) scores[s] = kMasked;
  }
}

// row = softmax(row).
template <typename C>
void SoftmaxRow(C* __restrict row, int64_t n) {
  const C largest = LaneMax<C>(n, -std::numeric_limits<C>::infinity(),
                               [=](int64_t i) { return row[i]; });
  for (int64_t i = 0; i < n; ++i) row[i] = math::Exp(row[i] - largest);
  const C inverse = C(1) / LaneSum<C>(n, [=](int64_t i) { return row[i]; });
  for (int64_t i = 0; i < n; ++i) row[i] *= inverse;
}

void MaskedSoftmax(In x, const AttentionMask& mask, Out y) {
  const int64_t heads = x.dim(1), queries = x.dim(2), keys = x.dim(3);
  const Visibility visibility(mask, queries, keys);
  DispatchFloat(x.dtype(), "masked_softmax", [&](auto tag) {
    using T = decltype(tag);
    using C = ComputeType<T>;
    const T* const px = x.data<T>();
    T* const py = y->data<T>();
    ParallelFor(x.dim(0) * heads * queries, RowsPerTask(keys),
                [&](int64_t begin, int64_t end) {
                  std::vector<C> row(keys);
                  for (int64_t r = begin; r < end; ++r) {
                    std::copy_n(px + r * keys, keys, row.data());
                    Mask(visibility, r / (heads * queries), r % queries, keys,
                         row.data());
                    SoftmaxRow(row.data(), keys);
                    for (int64_t s = 0; s < keys; ++s) {
                      py[r * keys + s] = static_cast<T>(row[s]);
                    }
                  }
                });
  });
}

}  // namespace HWY_NAMESPACE
}  // namespace nextword::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace nextword::kernels {
namespace {
NW_REGISTER_CPU(masked_softmax, MaskedSoftmax);
}  // namespace
}  // namespace nextword::kernels
#endif  // HWY_ONCE
