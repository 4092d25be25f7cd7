// Shapes and layout.
#ifndef NEXTWORD_AUTOGRAD_OPS_LAYOUT_H_
#define NEXTWORD_AUTOGRAD_OPS_LAYOUT_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "autograd/variable.h"

namespace nextword {

// The same elements in the same order under another shape.
Variable Reshape(const Variable& x, const Shape& shape);

// Dimension i of the result is dimension order[i] of x.
Variable Permute(const Variable& x, const std::vector<int>& order);

// Swaps two dimensions.
Variable Transpose(const Variable& x, int axis_a, int axis_b);

// Entries [begin, end) along `axis`.
Variable Slice(const Variable& x, int axis, int64_t begin, int64_t end);

// One after the other along `axis`; other sizes are equal.
Variable Concat(const std::vector<Variable>& parts, int axis);

// Rows of `weight` [V, C] by `ids` (i32, any shape): [ids.., C] of `dtype`,
// weight's or, of a bf16 weight, f32. An id outside of [0, V) is a CHECK
// failure.
Variable Embedding(const Variable& weight, const Tensor& ids,
                   std::optional<DType> dtype = std::nullopt);

}  // namespace nextword

#endif  // NEXTWORD_AUTOGRAD_OPS_LAYOUT_H_
