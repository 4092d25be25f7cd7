// Reductions: sums, means and maxima.
#ifndef NEXTWORD_AUTOGRAD_OPS_REDUCTION_H_
#define NEXTWORD_AUTOGRAD_OPS_REDUCTION_H_

#include "autograd/variable.h"

namespace nextword {

// Over all elements; the result has shape [].
Variable Sum(const Variable& x);
Variable Mean(const Variable& x);

// Over one axis, which goes.
Variable Sum(const Variable& x, int axis);
Variable Mean(const Variable& x, int axis);

// Over the last axis, which goes. The gradient goes to the first maximum.
Variable Max(const Variable& x);

}  // namespace nextword

#endif  // NEXTWORD_AUTOGRAD_OPS_REDUCTION_H_
