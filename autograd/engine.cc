#include "autograd/engine.h"

#include <queue>
#include <unordered_map>
#include <utility>
#include <vector>

#include "autograd/base/check.h"
#include "autograd/base/trace.h"
#include "autograd/kernels/kernels.h"

namespace nextword {
namespace {

// A gradient on its way to a node. What others refer to, too, must not be
// written to.
class PartialGradient {
 public:
  void Add(Tensor part) {
    if (!sum_.defined()) {
      sum_ = std::move(part);
    } else if (sum_.OwnsAlone()) {
      kernels::accumulate(part, &sum_);
    } else {
      Tensor sum = EmptyLike(sum_);
      kernels::add(sum_, part, &sum);
      sum_ = std::move(sum);
    }
  }

  bool empty() const { return !sum_.defined(); }

  // The sum so far, to be added to by one who adds at once what Add would have
  // added; undefined where that changed what others see.
  Tensor Open(DType dtype) const {
    const bool open =
        sum_.defined() && sum_.dtype() == dtype && sum_.OwnsAlone();
    return open ? sum_ : Tensor();
  }

  Tensor Take() { return std::move(sum_); }

 private:
  Tensor sum_;
};

using NodePtr = std::shared_ptr<Node>;

// Nodes whose gradients are wanted and whose own inputs are not entered.
struct Stop {
  Tensor gradient;
  GradientUse use;
};
using Stops = std::unordered_map<Node*, Stop>;

struct Pending {
  int consumers = 0;  // That have yet to run.
  PartialGradient gradient;
  Tensor rounded;  // The whole gradient, in bf16, if somebody made it.
};
using PendingByNode = std::unordered_map<Node*, Pending>;

// All nodes between `root` and `stops` that require gradients, with their
// consumers counted.
PendingByNode CountConsumers(const NodePtr& root, const Stops& stops) {
  PendingByNode pending;
  pending[root.get()];
  std::vector<Node*> open = {root.get()};
  while (!open.empty()) {
    Node* const node = open.back();
    open.pop_back();
    if (stops.contains(node)) continue;
    for (const NodePtr& input : node->inputs) {
      if (!input->requires_grad) continue;
      const auto [it, is_new] = pending.try_emplace(input.get());
      ++it->second.consumers;
      if (is_new) open.push_back(input.get());
    }
  }
  return pending;
}

// The gradient as the node's hooks leave it.
Tensor CallHooks(const Node& node, Tensor gradient) {
  if (!gradient.defined()) return gradient;
  for (const GradientHook& hook : node.gradient_hooks) {
    gradient = hook(gradient);
    NW_CHECK(gradient.shape() == node.value.shape())
        << node.op << ": a hook's gradient " << gradient << " for "
        << node.value;
  }
  return gradient;
}

void CallAccumulatedHooks(const Node& leaf) {
  for (const auto& hook : leaf.accumulated_hooks) hook();
}

// Leaves so small that to add to them takes a GPU no longer than to begin:
// their gradients wait, to be added all at once.
class SmallLeaves {
 public:
  // Whether this is one.
  bool Take(const NodePtr& leaf, const Tensor& gradient) {
    constexpr int64_t kSmall = 1 << 16;  // Elements.
    const DType dtype = leaf->gradient.dtype();
    if (gradient.numel() > kSmall || gradient.dtype() != dtype ||
        dtype == DType::kBF16) {
      return false;
    }
    leaves_.push_back(leaf);
    gradients_.push_back(gradient);
    sums_.push_back(leaf->gradient);
    return true;
  }

  void Finish() {
    if (leaves_.empty()) return;
    kernels::accumulate_each(gradients_, sums_);
    for (const NodePtr& leaf : leaves_) CallAccumulatedHooks(*leaf);
  }

 private:
  std::vector<NodePtr> leaves_;
  std::vector<Tensor> gradients_, sums_;
};

void FinishLeaf(const NodePtr& leaf, const Tensor& gradient,
                SmallLeaves* small) {
  if (gradient.defined()) {
    if (!leaf->gradient.defined()) {
      leaf->gradient = Clone(gradient);
    } else if (small->Take(leaf, gradient)) {
      return;
    } else {
      kernels::accumulate(gradient, &leaf->gradient);
    }
  }
  CallAccumulatedHooks(*leaf);
}

// What the engine does with the gradient of an op's input. A leaf's own sum is
// open to the op unless somebody is to see the gradient first, or the sum would
// lose by it.
GradientUse UseOf(Node* input, const Stops& stops, PendingByNode* pending) {
  if (!input->requires_grad) return {.wanted = false};
  Pending& of_input = pending->at(input);
  GradientUse use;
  const auto stop = stops.find(input);
  if (stop != stops.end()) {
    use = stop->second.use;
  } else if (input->is_leaf && input->gradient_hooks.empty() &&
             input->gradient.dtype() != DType::kBF16) {
    use.sum = input->gradient;
  }
  use.partial = of_input.gradient.Open(input->value.dtype());
  // Only he has all of it who gives the last part and adds it himself.
  const bool completes = of_input.consumers == 1 && stop == stops.end() &&
                         (of_input.gradient.empty() || use.partial.defined());
  const bool wanted = input->reads_rounded && input->gradient_hooks.empty();
  use.rounded = completes && wanted ? &of_input.rounded : nullptr;
  return use;
}

// Runs an op's vjp and checks what it returned. Frees what the node saved.
Gradients RunVjp(Node* node, Tensor gradient, Tensor rounded,
                 const Stops& stops, PendingByNode* pending) {
  const Vjp vjp = std::exchange(node->vjp, Vjp());
  node->use_hooks.clear();  // A value that was not computed: nobody needs it.
  NW_CHECK(vjp.defined()) << node->op
                          << ": Backward through a graph that was already used";
  if (!gradient.defined()) return Gradients(node->inputs.size());
  Vjp::Uses uses;
  uses.rounded_dy = std::move(rounded);
  for (const NodePtr& input : node->inputs) {
    for (const auto& hook : input->use_hooks) hook();
    uses.push_back(UseOf(input.get(), stops, pending));
  }
  const trace::Span span("backward", node->op);
  Gradients gradients = vjp(std::move(gradient), uses);
  NW_CHECK_EQ(gradients.size(), node->inputs.size())
      << node->op << ": gradients and inputs";
  for (size_t i = 0; i < gradients.size(); ++i) {
    NW_CHECK(!gradients[i].defined() ||
             gradients[i].shape() == node->inputs[i]->value.shape())
        << node->op << ": gradient " << gradients[i] << " for input "
        << node->inputs[i]->value;
  }
  return gradients;
}

// Leaves before ops, for they free their gradient and wait for nobody; then
// the latest node.
bool RunsAfter(const NodePtr& a, const NodePtr& b) {
  return std::pair(a->is_leaf, a->id) < std::pair(b->is_leaf, b->id);
}

// Walks from `root` to the leaves and to `stops`, whose gradients it sets.
void Run(const Variable& root, Tensor gradient, Stops* stops) {
  NW_CHECK(root.requires_grad())
      << "Backward from a value that needs no gradient";
  const NoGradScope no_grad;
  if (!gradient.defined()) {
    gradient = EmptyLike(root.value());
    kernels::fill(&gradient, 1.0);
  }
  NW_CHECK(gradient.shape() == root.shape())
      << "Backward: gradient " << gradient << " for " << root.value();

  PendingByNode pending = CountConsumers(root.node(), *stops);
  pending[root.node().get()].gradient.Add(gradient);
  gradient = Tensor();
  std::priority_queue<NodePtr, std::vector<NodePtr>, decltype(&RunsAfter)>
      ready(&RunsAfter);
  ready.push(root.node());
  SmallLeaves small;
  while (!ready.empty()) {
    const NodePtr node = ready.top();
    ready.pop();
    auto taken = pending.extract(node.get());
    Tensor dy = taken.mapped().gradient.Take();
    if (const auto stop = stops->find(node.get()); stop != stops->end()) {
      stop->second.gradient = std::move(dy);
      continue;
    }
    dy = CallHooks(*node, std::move(dy));
    if (node->is_leaf) {
      FinishLeaf(node, dy, &small);
      continue;
    }
    Gradients gradients =
        RunVjp(node.get(), std::move(dy), std::move(taken.mapped().rounded),
               *stops, &pending);
    const std::vector<NodePtr> inputs = std::exchange(node->inputs, {});
    for (size_t i = 0; i < inputs.size(); ++i) {
      if (!inputs[i]->requires_grad) continue;
      Pending& entry = pending[inputs[i].get()];
      if (gradients[i].defined()) {
        entry.gradient.Add(std::move(gradients[i]));
      }
      if (--entry.consumers == 0) ready.push(inputs[i]);
    }
  }
  small.Finish();
}

}  // namespace

void Backward(const Variable& root, Tensor gradient) {
  Stops none;
  Run(root, std::move(gradient), &none);
}

Gradients Differentiate(const Variable& root, Tensor gradient,
                        const std::vector<Variable>& inputs,
                        const Vjp::Uses& uses) {
  Stops stops;
  for (size_t i = 0; i < inputs.size(); ++i) {
    Stop& stop = stops[inputs[i].node().get()];
    if (!uses.empty()) stop.use = uses[i];
  }
  Run(root, std::move(gradient), &stops);
  Gradients gradients;
  for (const Variable& input : inputs) {
    gradients.push_back(stops[input.node().get()].gradient);
  }
  return gradients;
}

}  // namespace nextword
