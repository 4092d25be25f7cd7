#include "layers/sampler.h"

#include "autograd/kernels/kernels.h"

namespace nextword::layers {

int32_t SampleToken(const Tensor& logits, const SamplerOptions& options,
                    uint64_t position, int32_t limit) {
  Tensor id = Empty({1}, DType::kI32, logits.device());
  kernels::sample(logits.Reshape({1, logits.numel()}),
                  {.temperature = options.temperature,
                   .top_k = options.top_k,
                   .top_p = options.top_p,
                   .limit = limit,
                   .key = {.seed = options.seed, .step = position}},
                  &id);
  return ToScalar<int32_t>(id);
}

}  // namespace nextword::layers
