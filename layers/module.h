// Module: a part of a model that owns parameters and other modules.
//
// A module declares its parameters and names its parts in its constructor; the
// order of these calls is the order of the parameters everywhere (buffers,
// checkpoints). Nothing is allocated: a declared model of any size can be
// counted. Parameters (autograd/parameters.h) allocates the leaves, Initialize
// fills them. Modules live in place: they can be neither copied nor moved.
#ifndef NEXTWORD_LAYERS_MODULE_H_
#define NEXTWORD_LAYERS_MODULE_H_

#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "autograd/parameters.h"
#include "autograd/variable.h"

namespace nextword::layers {

// How a parameter starts: normally distributed around `mean`.
struct Init {
  double mean = 0;
  double std = 0;

  static Init Constant(double value) { return {value, 0}; }
  static Init Normal(double std) { return {0, std}; }
};

class Module {
 public:
  Module(const Module&) = delete;
  Module& operator=(const Module&) = delete;
  virtual ~Module() = default;

  // All parameters of this module and its parts, by dotted name.
  std::vector<NamedVariable> NamedParameters() const;

  // Fills all (allocated) parameters. A parameter's values follow from `seed`
  // and its name alone. Calls `filled` after each, with its name.
  void Initialize(uint64_t seed,
                  const std::function<void(const std::string&)>& filled = {});

 protected:
  Module() = default;

  // Declares a parameter; the leaf has a shape and, until it is bound to
  // Parameters, no memory.
  Variable AddParameter(std::string name, const Shape& shape, Init init);

  // Names a part, which outlives this module's use of it: a member.
  void AddPart(std::string name, Module* part);

 private:
  struct Declared {
    std::string name;
    Variable variable;
    Init init;
  };

  template <typename Visit>
  void ForEach(const std::string& prefix, const Visit& visit) const;

  // In order of registration; a part has no variable, a parameter no part.
  std::vector<std::pair<Declared, Module*>> members_;
};

}  // namespace nextword::layers

#endif  // NEXTWORD_LAYERS_MODULE_H_
