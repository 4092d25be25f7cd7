#include "autograd/variable.h"

#include <algorithm>
#include <atomic>
#include <utility>

#include "autograd/base/check.h"

namespace nextword {
namespace {

thread_local bool grad_enabled = true;
thread_local bool replaying = false;
thread_local std::vector<Variable>* noted_uses = nullptr;

std::shared_ptr<Node> NewNode(Tensor value, bool requires_grad) {
  static std::atomic<int64_t> next_id{0};
  auto node = std::make_shared<Node>();
  node->id = next_id++;
  node->value = std::move(value);
  node->requires_grad = requires_grad;
  return node;
}

void NoteUses(const std::vector<Variable>& inputs) {
  for (const Variable& input : inputs) {
    const auto is_input = [&](const Variable& use) {
      return use.node() == input.node();
    };
    if (input.requires_grad() &&
        std::none_of(noted_uses->begin(), noted_uses->end(), is_input)) {
      noted_uses->push_back(input);
    }
  }
}

}  // namespace

// A deep graph would overflow the stack if each node freed its inputs by
// recursion, so the last owner frees them from a list. The vjp goes first: it
// may refer to inputs too.
Node::~Node() {
  vjp = Vjp();
  std::vector<std::shared_ptr<Node>> pending = std::move(inputs);
  while (!pending.empty()) {
    const std::shared_ptr<Node> node = std::move(pending.back());
    pending.pop_back();
    if (node.use_count() > 1) continue;
    node->vjp = Vjp();
    for (std::shared_ptr<Node>& input : node->inputs) {
      pending.push_back(std::move(input));
    }
    node->inputs.clear();
  }
}

Variable::Variable(Tensor value, bool requires_grad)
    : node_(NewNode(std::move(value), requires_grad)) {}

const Tensor& Variable::declared() const {
  NW_CHECK(defined()) << "value of an undefined Variable";
  return node_->value;
}

const Tensor& Variable::value() const {
  const Tensor& value = declared();
  for (const auto& hook : node_->use_hooks) hook();
  return value;
}

bool Variable::requires_grad() const {
  return defined() && node_->requires_grad;
}

const Tensor& Variable::gradient() const {
  NW_CHECK(defined()) << "gradient of an undefined Variable";
  return node_->gradient;
}

void Variable::Bind(Tensor value, Tensor gradient) {
  NW_CHECK(node_->is_leaf) << "Bind of the result of " << node_->op;
  NW_CHECK(value.shape() == shape())
      << "Bind of " << value << " to a variable of shape " << shape();
  node_->value = std::move(value);
  node_->gradient = std::move(gradient);
}

void Variable::ClearGradient() { node_->gradient = Tensor(); }

void Variable::AddGradientHook(GradientHook hook) const {
  node_->gradient_hooks.push_back(std::move(hook));
}

void Variable::AddAccumulatedHook(std::function<void()> hook) const {
  NW_CHECK(node_->is_leaf) << "AddAccumulatedHook on the result of "
                           << node_->op;
  node_->accumulated_hooks.push_back(std::move(hook));
}

void Variable::AddUseHook(std::function<void()> hook) const {
  node_->use_hooks.push_back(std::move(hook));
}

Variable Variable::Detach() const { return Variable(value()); }

Variable Record(const char* op, Tensor y, const std::vector<Variable>& inputs,
                Vjp vjp) {
  if (!GradEnabled() && noted_uses != nullptr) NoteUses(inputs);
  const bool requires_grad =
      GradEnabled() &&
      std::any_of(inputs.begin(), inputs.end(),
                  [](const Variable& x) { return x.requires_grad(); });
  Variable result(NewNode(std::move(y), requires_grad));
  result.node_->op = op;
  result.node_->is_leaf = !requires_grad;
  if (!requires_grad) return result;
  for (const Variable& input : inputs) {
    result.node_->inputs.push_back(input.node());
  }
  result.node_->vjp = std::move(vjp);
  return result;
}

void ReadsRoundedGradient(const Variable& result) {
  result.node()->reads_rounded = true;
}

void ComputeWhenRead(const Variable& result, std::function<void()> compute) {
  if (!replaying) return compute();
  // Once; and what it holds goes then.
  result.AddUseHook([compute = std::move(compute)]() mutable {
    if (const auto once = std::exchange(compute, nullptr)) once();
  });
}

ReplayScope::ReplayScope() : previous_(std::exchange(replaying, true)) {}

ReplayScope::~ReplayScope() { replaying = previous_; }

bool GradEnabled() { return grad_enabled; }

GradModeScope::GradModeScope(bool enabled)
    : previous_(std::exchange(grad_enabled, enabled)) {}

GradModeScope::~GradModeScope() { grad_enabled = previous_; }

UsesScope::UsesScope(std::vector<Variable>* uses)
    : previous_(std::exchange(noted_uses, uses)) {}

UsesScope::~UsesScope() { noted_uses = previous_; }

}  // namespace nextword
