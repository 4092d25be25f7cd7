// Scales of the factors that linear layers round to eight bits: those of a step
// follow from the steps before it ("delayed scaling"), so that a factor is
// rounded in one pass, while it is made.
#ifndef NEXTWORD_LAYERS_DELAYED_SCALES_H_
#define NEXTWORD_LAYERS_DELAYED_SCALES_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "autograd/ops/quantized_linear.h"
#include "autograd/parameters.h"

namespace nextword::layers {

// Until something is known of the steps before, each factor has the scale of
// its own largest element. Not thread-safe.
class DelayedScales {
 public:
  // For layers of these weights, whose results' gradients are rounded to
  // `gradient`. On the weights' device.
  DelayedScales(const std::vector<NamedVariable>& weights, DType gradient,
                Device device);

  // Rounds all weights for the steps' layers, until the next Update: once, not
  // with each micro-batch. Does nothing where nothing is known. All of them
  // have their elements.
  void RoundWeights();

  // In a step; the layer notes what it rounds. The tensors are the same in all
  // steps that something is known for.
  LinearScales Of(const Variable& weight) const;

  // Whether something is known of steps before.
  bool known() const { return !expected_.empty(); }

  // The largest magnitude of each factor since it was asked last: layer by
  // layer, those of x, weight and gradient. Waits for the device.
  std::vector<float> TakeLargest();

  // After a step that had these, all finite. What is expected of a factor fades
  // away over steps in which it is smaller.
  void Update(absl::Span<const float> largest);

  // Of which layer factor `i` of those is, by its weight's name; and what of
  // it: "an input in eight bits".
  const std::string& LayerOf(int64_t i) const;
  std::string KindOf(int64_t i) const;

  // What is expected of each factor, as checkpoints have it: nothing where
  // nothing is known.
  const std::vector<float>& expected() const { return expected_; }
  // Error: it is of a model with another number of layers.
  absl::Status Restore(absl::Span<const float> expected);

 private:
  enum Factor { kX, kWeight, kGradient, kFactors };

  FactorScale At(int64_t factor) const;
  void SetScales();

  const DType gradient_;
  const std::vector<NamedVariable> weights_;
  std::map<const Node*, int64_t> layers_;
  std::vector<Float8Matrix> rounded_;
  bool are_rounded_ = false;  // rounded_ are the weights as they are.
  Tensor scales_, largest_;   // f32 [layers, kFactors]
  std::vector<float> expected_;
};

}  // namespace nextword::layers

#endif  // NEXTWORD_LAYERS_DELAYED_SCALES_H_
