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

namespace nextword {

// Elements [begin, end) of the flat buffers, all of matrices or all of vectors
// (biases and norms). Weight decay is for matrices, and so are narrow copies.
struct UpdateRange {
  int64_t begin, end;
  bool matrices;

  Tensor Of(const Tensor& flat) const {
    return flat.View(begin, {end - begin});
  }

  // Undefined without copies.
  Tensor CopiesOf(const Parameters& parameters) const {
    const bool has = matrices && parameters.copies().defined();
    return has ? Of(parameters.copies()) : Tensor();
  }
};

// Which parameters; all of them if empty.
using Choice = std::function<bool(const Parameters::Entry&)>;

// The buffers' ranges of the chosen parameters, neighbours of a kind merged.
std::vector<UpdateRange> UpdateRanges(const Parameters& parameters,
                                      const Choice& choice = {});

// Views of `moment` (flat), one per parameter, named PREFIX.parameter; appended
// to `state`.
void AppendViews(const Parameters& parameters, const std::string& prefix,
                 const Tensor& moment, std::vector<NamedTensor>* state);

}  // namespace nextword

#endif  // NEXTWORD_OPTIM_MOMENT_H_
