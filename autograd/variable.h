// Variable: a handle on a value in the graph of a computation.
//
// Ops take Variables and give Variables; each result remembers its inputs and
// how to turn its gradient into theirs (its vector-Jacobian product). Backward,
// in engine.h, walks that graph from a result to the leaves. Copies of a handle
// share the node; a node lives while a handle or a later node refers to it. A
// graph belongs to one thread.
#ifndef NEXTWORD_AUTOGRAD_VARIABLE_H_
#define NEXTWORD_AUTOGRAD_VARIABLE_H_

#include <concepts>
#include <cstdint>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "autograd/tensor/tensor.h"

namespace nextword {

// Gradients of an op's inputs, in their order. An undefined one means zero.
using Gradients = std::vector<Tensor>;

// What becomes of the gradient of one input of an op.
struct GradientUse {
  bool wanted = true;
  // A leaf's sum of gradients in its own memory, of the leaf's shape. A vjp may
  // add to it and return an undefined Tensor: one pass over memory, not three.
  Tensor sum = {};
  // What the input's other consumers have given so far, where it may be written
  // to. A vjp may likewise add to it, but whole gradients to elements, rounded
  // to its dtype first: who holds a gradient decides whether this is offered,
  // and bits must not depend on it.
  Tensor partial = {};
  // Not null where the input's own vjp reads its gradient in bf16, and this vjp
  // completes it: one that has the elements at hand may put them here, rounded.
  Tensor* rounded = nullptr;
};

// From the gradient of an op's result to those of its inputs. Captures the
// Tensors it needs, never Variables: what is saved is in sight, and the graph
// has no cycles. Most take dy alone; those to which work or memory matters also
// take the uses of their inputs' gradients, in their order. By value, dy is
// theirs to hand on.
class Vjp {
 public:
  // One per input.
  struct Uses : std::vector<GradientUse> {
    // dy in bf16, if ReadsRoundedGradient was said of the result, and whoever
    // completed dy had it at hand.
    Tensor rounded_dy = {};
  };

  Vjp() = default;
  template <typename F>
  requires std::invocable<F, Tensor, const Uses&> Vjp(F function)
      : function_(std::move(function)) {}
  template <typename F>
  requires std::invocable<F, Tensor> Vjp(F function)
      : function_([function = std::move(function)](Tensor dy, const Uses&) {
          return function(std::move(dy));
        }) {}

  bool defined() const { return function_ != nullptr; }
  Gradients operator()(Tensor dy, const Uses& uses) const {
    return function_(std::move(dy), uses);
  }

 private:
  std::function<Gradients(Tensor, const Uses&)> function_;
};

// Sees the complete gradient of a variable and returns the one to go on with.
using GradientHook = std::function<Tensor(const Tensor& gradient)>;

struct Node;

class Variable {
 public:
  Variable() = default;

  // A leaf. With `requires_grad`, Backward adds to its gradient.
  explicit Variable(Tensor value, bool requires_grad = false);

  bool defined() const { return node_ != nullptr; }
  // Calls the use hooks first; what follows below does not.
  const Tensor& value() const;
  const Shape& shape() const { return declared().shape(); }
  DType dtype() const { return declared().dtype(); }
  Device device() const { return declared().device(); }
  int64_t dim(int axis) const { return declared().dim(axis); }
  int64_t numel() const { return declared().numel(); }
  bool requires_grad() const;

  // A leaf's gradient so far; undefined before the first Backward.
  const Tensor& gradient() const;

  // Gives a leaf other memory: its value and, where not undefined, the zeroed
  // place into which its gradients add.
  void Bind(Tensor value, Tensor gradient);

  // Drops a leaf's gradient.
  void ClearGradient();

  // Called in Backward with the variable's whole gradient, before it is used.
  void AddGradientHook(GradientHook hook) const;

  // Called in Backward once this leaf has its sum of all gradients.
  void AddAccumulatedHook(std::function<void()> hook) const;

  // Called before the elements are read: by value(), and by Backward through
  // ops that it went into.
  void AddUseHook(std::function<void()> hook) const;

  // The same value without its history.
  Variable Detach() const;

  const std::shared_ptr<Node>& node() const { return node_; }

 private:
  friend Variable Record(const char* op, Tensor y,
                         const std::vector<Variable>& inputs, Vjp vjp);
  explicit Variable(std::shared_ptr<Node> node) : node_(std::move(node)) {}
  const Tensor& declared() const;

  std::shared_ptr<Node> node_;
};

// A vertex of the graph. For the engine; everybody else uses Variable.
struct Node {
  ~Node();

  const char* op = "leaf";
  int64_t id = 0;  // Counts up in order of creation.
  bool is_leaf = true;
  bool requires_grad = false;
  bool reads_rounded = false;  // Its gradient in bf16.
  Tensor value;
  Tensor gradient;  // Of leaves.
  std::vector<std::shared_ptr<Node>> inputs;
  Vjp vjp;
  std::vector<GradientHook> gradient_hooks;
  std::vector<std::function<void()>> accumulated_hooks;
  std::vector<std::function<void()>> use_hooks;
};

// The result `y` of an op. Keeps inputs and vjp only when gradients are on and
// some input requires one.
Variable Record(const char* op, Tensor y, const std::vector<Variable>& inputs,
                Vjp vjp);

// The vjp of `result` reads dy in bf16, and looks for that in its uses.
void ReadsRoundedGradient(const Variable& result);

// Calls `compute`, which writes the elements of a result that was just
// recorded: now, or in a replay when, and only if, they are read.
void ComputeWhenRead(const Variable& result, std::function<void()> compute);

// This thread computes a result a second time, for its gradients alone, for the
// life of the scope.
class ReplayScope {
 public:
  ReplayScope();
  ~ReplayScope();
  ReplayScope(const ReplayScope&) = delete;
  ReplayScope& operator=(const ReplayScope&) = delete;

 private:
  const bool previous_;
};

// Whether Record builds a graph on this thread.
bool GradEnabled();

// Turns recording off, or on, on this thread for the life of the scope.
class GradModeScope {
 public:
  explicit GradModeScope(bool enabled);
  ~GradModeScope();
  GradModeScope(const GradModeScope&) = delete;
  GradModeScope& operator=(const GradModeScope&) = delete;

 private:
  const bool previous_;
};

class NoGradScope : public GradModeScope {
 public:
  NoGradScope() : GradModeScope(false) {}
};

// Notes, each once, the variables that require gradients and that ops on this
// thread take as inputs without recording them, for the life of the scope.
class UsesScope {
 public:
  explicit UsesScope(std::vector<Variable>* uses);
  ~UsesScope();
  UsesScope(const UsesScope&) = delete;
  UsesScope& operator=(const UsesScope&) = delete;

 private:
  std::vector<Variable>* const previous_;
};

}  // namespace nextword

#endif  // NEXTWORD_AUTOGRAD_VARIABLE_H_
