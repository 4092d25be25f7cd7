// A flat buffer of one number per parameter element, and the ranges of it that
// optimizers treat alike. Internal to optim/.
#ifndef NEXTWORD_OPTIM_MOMENT_H_
#define NEXTWORD_OPTIM_MOMENT_H_

#include <cstdint>
#include <string>
#include <vector>

#include "autograd/parameters.h"
#include "autograd/tensor/tensor.h"

namespace nextword {

// Elements [begin, end) of the flat buffers; weight decay applies to matrices
// and not to biases and norms.
struct DecayRange {
  int64_t begin, end;
  bool decays;

  Tensor Of(const Tensor& flat) const {
    return flat.View(begin, {end - begin});
  }
};

// The whole of the buffers, neighbours of a kind merged.
std::vector<DecayRange> DecayRanges(const Parameters& parameters);

// Views of `moment` (flat), one per parameter, named PREFIX.parameter; appended
// to `state`.
void AppendViews(const Parameters& parameters, const std::string& prefix,
                 const Tensor& moment, std::vector<NamedTensor>* state);

}  // namespace nextword

#endif  // NEXTWORD_OPTIM_MOMENT_H_
