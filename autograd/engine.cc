#include "autograd/engine.h"

#include <queue>
#include <unordered_map>
#include <utility>
#include <vector>

#include "autograd/base/check.h"
#include "autograd/kernels/kernels.h"

namespace nextword {
namespace {

// A gradient on its way to a node. The first part that arrives may be shared
// with others and must not be written to; the sum of several is our own.
class PartialGradient {
 public:
  void Add(const Tensor& part) {
    if (!sum_.defined()) {
      sum_ = part;
    } else if (owned_) {
      kernels::accumulate(part, &sum_);
    } else {
      Tensor sum = EmptyLike(sum_);
      kernels::add(sum_, part, &sum);
      sum_ = std::move(sum);
      owned_ = true;
    }
  }
  Tensor Take() { return std::move(sum_); }

 private:
  Tensor sum_;
  bool owned_ = false;
};

struct Pending {
  int consumers = 0;  // That have yet to run.
  PartialGradient gradient;
};

using NodePtr = std::shared_ptr<Node>;
using PendingByNode = std::unordered_map<Node*, Pending>;

// All nodes under `root` that require gradients, with their consumers counted.
PendingByNode CountConsumers(const NodePtr& root) {
  PendingByNode pending;
  pending[root.get()];
  std::vector<Node*> open = {root.get()};
  while (!open.empty()) {
    Node* const node = open.back();
    open.pop_back();
    for (const NodePtr& input : node->inputs) {
      if (!input->requires_grad) continue;
      const auto [it, is_new] = pending.try_emplace(input.get());
      ++it->second.consumers;
      if (is_new) open.push_back(input.get());
    }
  }
  return pending;
}

void AddToLeaf(Node* leaf, const Tensor& gradient) {
  if (!leaf->gradient.defined()) {
    leaf->gradient = Clone(gradient);
  } else {
    kernels::accumulate(gradient, &leaf->gradient);
  }
}

// Runs an op's vjp and checks what it returned.
Gradients RunVjp(const Node& node, const Tensor& gradient) {
  NW_CHECK(node.vjp != nullptr)
      << node.op << ": Backward through a graph that was already used";
  Gradients gradients = node.vjp(gradient);
  NW_CHECK_EQ(gradients.size(), node.inputs.size())
      << node.op << ": gradients and inputs";
  for (size_t i = 0; i < gradients.size(); ++i) {
    NW_CHECK(!gradients[i].defined() ||
             gradients[i].shape() == node.inputs[i]->value.shape())
        << node.op << ": gradient " << gradients[i] << " for input "
        << node.inputs[i]->value;
  }
  return gradients;
}

}  // namespace

void Backward(const Variable& root, Tensor gradient) {
  NW_CHECK(root.requires_grad())
      << "Backward from a value that needs no gradient";
  const NoGradScope no_grad;
  if (!gradient.defined()) {
    gradient = EmptyLike(root.value());
    kernels::fill(&gradient, 1.0);
  }
  NW_CHECK(gradient.shape() == root.shape())
      << "Backward: gradient " << gradient << " for " << root.value();

  PendingByNode pending = CountConsumers(root.node());
  pending[root.node().get()].gradient.Add(gradient);
  const auto older = [](const NodePtr& a, const NodePtr& b) {
    return a->id < b->id;
  };
  std::priority_queue<NodePtr, std::vector<NodePtr>, decltype(older)> ready(
      older);
  ready.push(root.node());

  while (!ready.empty()) {
    const NodePtr node = ready.top();
    ready.pop();
    Tensor dy = pending[node.get()].gradient.Take();
    pending.erase(node.get());
    if (dy.defined()) {
      for (const GradientHook& hook : node->gradient_hooks) dy = hook(dy);
    }
    if (node->is_leaf) {
      if (dy.defined()) AddToLeaf(node.get(), dy);
      for (const auto& hook : node->accumulated_hooks) hook();
      continue;
    }
    const Gradients gradients =
        dy.defined() ? RunVjp(*node, dy) : Gradients(node->inputs.size());
    node->vjp = nullptr;
    const std::vector<NodePtr> inputs = std::exchange(node->inputs, {});
    for (size_t i = 0; i < inputs.size(); ++i) {
      if (!inputs[i]->requires_grad) continue;
      Pending& entry = pending[inputs[i].get()];
      if (gradients[i].defined()) entry.gradient.Add(gradients[i]);
      if (--entry.consumers == 0) ready.push(inputs[i]);
    }
  }
}

}  // namespace nextword
