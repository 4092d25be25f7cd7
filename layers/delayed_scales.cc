#include "layers/delayed_scales.h"

#include <algorithm>
#include <bit>

#include "absl/strings/str_cat.h"
#include "autograd/base/check.h"
#include "autograd/kernels/kernels.h"
#include "autograd/kernels/quantization.h"
#include "autograd/tensor/allocator.h"
#include "autograd/tensor/memory_label.h"

namespace nextword::layers {
namespace {

// A factor may become as much larger from one step to the next and still fit.
constexpr float kHeadroom = 2;
// What is left after a step of what was expected before it.
constexpr float kMemory = 0.875;

}  // namespace

DelayedScales::DelayedScales(const std::vector<NamedVariable>& weights,
                             DType gradient, Device device)
    : gradient_(gradient), weights_(weights) {
  for (const NamedVariable& weight : weights_) {
    const auto layer = static_cast<int64_t>(layers_.size());
    NW_CHECK(layers_.emplace(weight.variable.node().get(), layer).second)
        << weight.name << " twice";
  }
  const Shape shape = {static_cast<int64_t>(layers_.size()), kFactors};
  scales_ = Zeros(shape, DType::kF32, device);
  largest_ = Zeros(shape, DType::kF32, device);
}

void DelayedScales::RoundWeights() {
  if (!known()) return;
  const MemoryLabel label("weights");
  rounded_.resize(weights_.size());
  for (size_t i = 0; i < weights_.size(); ++i) {
    const Tensor& weight = weights_[i].variable.value();
    const Device device = weight.device();
    FactorScale by = At(static_cast<int64_t>(i) * kFactors + kWeight);
    Float8Matrix& rounded = rounded_[i];
    if (!rounded.defined()) {
      rounded = {Empty(weight.shape(), DType::kE4M3, device),
                 Empty({weight.dim(1), weight.dim(0)}, DType::kE4M3, device),
                 by.scale};
    }
    Tensor no_sum;
    kernels::quantize(weight, by.scale, &rounded.values, &rounded.transposed,
                      &by.largest, &no_sum);
  }
  are_rounded_ = true;
}

LinearScales DelayedScales::Of(const Variable& weight) const {
  const auto layer = layers_.find(weight.node().get());
  NW_CHECK(layer != layers_.end()) << "no scales for weight " << weight.shape();
  const int64_t first = layer->second * kFactors;
  return {At(first + kX), At(first + kWeight), At(first + kGradient), gradient_,
          are_rounded_ ? rounded_[layer->second] : Float8Matrix()};
}

FactorScale DelayedScales::At(int64_t factor) const {
  return {known() ? scales_.View(factor, {1}) : Tensor(),
          largest_.View(factor, {1})};
}

std::vector<float> DelayedScales::TakeLargest() {
  std::vector<float> largest = ToVector<float>(largest_);
  kernels::fill(&largest_, 0);
  return largest;
}

void DelayedScales::Update(absl::Span<const float> largest) {
  expected_.resize(largest.size());
  for (size_t i = 0; i < largest.size(); ++i) {
    expected_[i] = std::max(largest[i], kMemory * expected_[i]);
  }
  SetScales();
}

const std::string& DelayedScales::LayerOf(int64_t i) const {
  return weights_[i / kFactors].name;
}

std::string DelayedScales::KindOf(int64_t i) const {
  constexpr const char* kKinds[] = {"an input", "a weight", "a gradient"};
  return absl::StrCat(kKinds[i % kFactors], " in eight bits");
}

absl::Status DelayedScales::Restore(absl::Span<const float> expected) {
  const auto factors = static_cast<size_t>(scales_.numel());
  if (!expected.empty() && expected.size() != factors) {
    return absl::DataLossError(
        absl::StrCat("the checkpoint's manifest has the largest magnitudes of ",
                     expected.size(), " factors, wanted ", factors));
  }
  expected_.assign(expected.begin(), expected.end());
  are_rounded_ = false;
  kernels::fill(&largest_, 0);
  if (known()) SetScales();
  return absl::OkStatus();
}

void DelayedScales::SetScales() {
  are_rounded_ = false;
  std::vector<float> scales(expected_.size());
  for (size_t i = 0; i < scales.size(); ++i) {
    const DType dtype = i % kFactors == kGradient ? gradient_ : DType::kE4M3;
    scales[i] = kHeadroom * kernels::QuantizationScale(
                                std::bit_cast<uint32_t>(expected_[i]),
                                kernels::LargestNumber(dtype));
  }
  AllocatorFor(scales_.device())
      .Upload(scales.data(), scales_.raw_data(), scales_.size_bytes());
}

}  // namespace nextword::layers
