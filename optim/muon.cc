#include "optim/muon.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/match.h"
#include "autograd/kernels/kernels.h"
#include "autograd/kernels/numerics.h"
#include "optim/adamw.h"

namespace nextword {
namespace {

// The quintic's coefficients, of Jordan et al.
constexpr double kA = 3.4445, kB = -4.7750, kC = 2.0315;
constexpr int kIterations = 5;

// The matrices of the blocks are hidden; embeddings and the head, whose rows
// stand for tokens, are not.
bool IsHidden(const Parameters::Entry& entry) {
  return entry.shape().rank() == 2 && absl::StartsWith(entry.name, "blocks.");
}
bool IsNotHidden(const Parameters::Entry& entry) { return !IsHidden(entry); }

// What gives an orthogonal matrix the root mean square of AdamW's updates (Liu
// et al., section 2.2).
double UpdateScale(const Shape& shape) {
  return 0.2 * std::sqrt(static_cast<double>(std::max(shape[0], shape[1])));
}

Tensor Scaled(const Tensor& x, double a) {
  Tensor y = EmptyLike(x);
  kernels::scale(x, a, &y);
  return y;
}

Tensor Sum(const Tensor& a, const Tensor& b) {
  Tensor y = EmptyLike(a);
  kernels::add(a, b, &y);
  return y;
}

Tensor One(double value, const Tensor& like) {
  Tensor y = Empty({1}, like.dtype(), like.device());
  kernels::fill(&y, value);
  return y;
}

// x / |x|, by Frobenius' norm.
Tensor Normalized(const Tensor& x) {
  Tensor squares = EmptyLike(x);
  kernels::mul(x, x, &squares);
  Tensor sum = One(0, x), norm = One(0, x);
  kernels::sum_to(squares, &sum);
  kernels::sqrt(sum, &norm);
  Tensor y = EmptyLike(x);
  kernels::div(x, Sum(norm, One(1e-7, x)), &y);
  return y;
}

// op(a) op(b) of this shape, of `like`'s dtype.
Tensor Product(const Tensor& a, bool ta, const Tensor& b, bool tb,
               const Shape& shape, const Tensor& like) {
  Tensor y = Empty(shape, like.dtype(), like.device());
  kernels::matmul(a, ta, b, tb, /*add=*/false, &y);
  return y;
}

}  // namespace

Tensor Orthogonalize(const Tensor& g, DType dtype) {
  const bool tall = g.dim(0) > g.dim(1);
  const int64_t size = std::min(g.dim(0), g.dim(1));
  const Tensor a = One(kA, g), b = One(kB, g);
  Tensor x = Normalized(g);
  for (int i = 0; i < kIterations; ++i) {
    // x = a x + (b G + c G G) x with G = x x', or from the right with x' x,
    // whichever is smaller.
    const Tensor narrow = Cast(x, dtype);
    const Tensor gram = Product(narrow, tall, narrow, !tall, {size, size}, g);
    const Tensor narrow_gram = Cast(gram, dtype);
    Tensor polynomial = Scaled(
        Product(narrow_gram, false, narrow_gram, false, {size, size}, g), kC);
    kernels::accumulate_scaled(b, gram, &polynomial);
    polynomial = Cast(polynomial, dtype);
    Tensor next = tall
                      ? Product(narrow, false, polynomial, false, g.shape(), g)
                      : Product(polynomial, false, narrow, false, g.shape(), g);
    kernels::accumulate_scaled(a, x, &next);
    x = next;
  }
  return x;
}

Muon::Muon(const OptimizerConfig& config, Parameters* parameters)
    : config_(config),
      parameters_(parameters),
      ranges_(UpdateRanges(*parameters, std::nullopt, IsNotHidden)),
      m_(ZerosLike(parameters->values())),
      v_(ZerosPacked(*parameters, ranges_)) {}

void Muon::Step(int64_t step, double learning_rate, double grad_scale) {
  const kernels::DeterministicScope same_on_all_ranks;
  for (const UpdateRange& range : ranges_) {
    AdamWStep(config_, range, step, learning_rate, grad_scale, parameters_,
              range.Of(m_), range.OfPacked(v_));
  }
  for (const Parameters::Entry& entry : parameters_->entries()) {
    if (IsHidden(entry)) UpdateMatrix(entry, step, learning_rate, grad_scale);
  }
}

void Muon::UpdateMatrix(const Parameters::Entry& entry, int64_t step,
                        double learning_rate, double grad_scale) {
  const auto view = [&](const Tensor& flat) {
    return flat.View(entry.offset, entry.shape());
  };
  Tensor gradient = view(parameters_->gradients());
  Tensor value = view(parameters_->values()), momentum = view(m_);
  const double beta = config_.muon_momentum();
  const Tensor scaled = Scaled(gradient, grad_scale);
  kernels::add(Scaled(momentum, beta), scaled, &momentum);
  // Nesterov's momentum looks one step ahead: as if the next gradient were this
  // one.
  const bool narrow = parameters_->copies().defined();
  const Tensor update = Orthogonalize(Sum(Scaled(momentum, beta), scaled),
                                      narrow ? DType::kBF16 : gradient.dtype());
  kernels::add(Scaled(value, 1 - learning_rate * config_.weight_decay()),
               Scaled(update, -learning_rate * UpdateScale(entry.shape())),
               &value);
  kernels::fill(&gradient, 0);
  if (narrow) {
    Tensor copy = view(parameters_->copies());
    kernels::round_to_bf16(
        value, parameters_->RoundingOf(step + 1, entry.offset), &copy);
  }
}

std::vector<NamedTensor> Muon::State() const {
  std::vector<NamedTensor> state;
  AppendViews(*parameters_, "m", m_, &state);
  int64_t offset = 0;
  for (const Parameters::Entry& entry : parameters_->entries()) {
    if (IsHidden(entry)) continue;
    state.push_back({"v." + entry.name, v_.View(offset, entry.shape())});
    offset += entry.numel();
  }
  return state;
}

}  // namespace nextword
