// A flat buffer of one number per parameter element, and the ranges of it that
// optimizers treat alike. Internal to optim/.
#ifndef NEXTWORD_OPTIM_MOMENT_H_
#define NEXTWORD_OPTIM_MOMENT_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "autograd/parameters.h"
#include "autograd/tensor/tensor.h"
#include "optim/optimizer.h"

namespace nextword {

// Elements [begin, end) of the flat buffers, all of matrices or all of vectors
// (biases and norms). Weight decay is for matrices, and so are narrow copies.
struct UpdateRange : FlatRange {
  bool matrices;
  // Where it begins in a buffer that has nothing but the ranges.
  int64_t packed_begin;

  Tensor OfPacked(const Tensor& packed) const {
    return packed.View(packed_begin, {size()});
  }

  // Undefined without copies.
  Tensor CopiesOf(const Parameters& parameters) const {
    const bool has = matrices && parameters.copies().defined();
    return has ? Of(parameters.copies()) : Tensor();
  }
};

// Which parameters; all of them if empty.
using Choice = std::function<bool(const Parameters::Entry&)>;

// The buffers' ranges of the chosen parameters, neighbours of a kind merged; of
// each what lies in `pieces`.
std::vector<UpdateRange> UpdateRanges(const Parameters& parameters,
                                      const Pieces& pieces = {},
                                      const Choice& choice = {});

// A buffer with room for nothing but `ranges`.
Tensor ZerosPacked(const Parameters& parameters,
                   const std::vector<UpdateRange>& ranges);

// `packed`, which has nothing but `ranges`, as parts of the flat buffer.
Moment MomentOf(const std::string& name, const std::vector<UpdateRange>& ranges,
                const Tensor& packed);

// Views of `moment` (flat), one per parameter, named PREFIX.parameter; appended
// to `state`.
void AppendViews(const Parameters& parameters, const std::string& prefix,
                 const Tensor& moment, std::vector<NamedTensor>* state);

}  // namespace nextword

#endif  // NEXTWORD_OPTIM_MOMENT_H_
