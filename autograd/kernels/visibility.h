// Which keys a query of attention may see: AttentionMask with its zeros
// resolved.
#ifndef NEXTWORD_AUTOGRAD_KERNELS_VISIBILITY_H_
#define NEXTWORD_AUTOGRAD_KERNELS_VISIBILITY_H_

#include <algorithm>
#include <cstdint>
#include <limits>

#include "autograd/base/host_device.h"
#include "autograd/kernels/kernels.h"

namespace nextword::kernels {

struct KeyRange {
  int64_t begin, end;
};

struct Visibility {
  Visibility(const AttentionMask& mask, int64_t queries, int64_t stored_keys)
      : keys(mask.keys > 0 ? mask.keys : stored_keys),
        offset(keys - queries),
        window(mask.window > 0 ? mask.window : keys),
        stored(stored_keys),
        documents(mask.documents.defined() ? mask.documents.data<int32_t>()
                                           : nullptr) {}

  // Keys that query t may see, documents aside. Both ends grow with t.
  NW_HOST_DEVICE KeyRange Keys(int64_t t) const {
    const int64_t position = t + offset;
    return {std::max<int64_t>(0, position - window + 1), position + 1};
  }

  // Queries that may see key s, documents aside, of `queries`.
  NW_HOST_DEVICE KeyRange Queries(int64_t s, int64_t queries) const {
    const int64_t first = std::max<int64_t>(0, s - offset);
    return {first, std::max(first, std::min(queries, s - offset + window))};
  }

  // Documents of a sequence's keys; nullptr without any.
  NW_HOST_DEVICE const int32_t* Documents(int64_t batch) const {
    return documents == nullptr ? nullptr : documents + batch * stored;
  }

  // Whether query t sees key s.
  NW_HOST_DEVICE bool Sees(int64_t batch, int64_t t, int64_t s) const {
    const KeyRange visible = Keys(t);
    const int32_t* const ids = Documents(batch);
    return visible.begin <= s && s < visible.end &&
           (ids == nullptr || ids[s] == ids[t + offset]);
  }

  int64_t keys, offset, window, stored;
  const int32_t* documents;
};

}  // namespace nextword::kernels

#endif  // NEXTWORD_AUTOGRAD_KERNELS_VISIBILITY_H_
