#include "layers/module.h"

#include "autograd/base/check.h"
#include "autograd/base/hash.h"
#include "autograd/kernels/kernels.h"

namespace nextword::layers {

template <typename Visit>
void Module::ForEach(const std::string& prefix, const Visit& visit) const {
  for (const auto& [declared, part] : members_) {
    if (part == nullptr) {
      visit(prefix + declared.name, declared);
    } else {
      part->ForEach(prefix + declared.name + ".", visit);
    }
  }
}

std::vector<NamedVariable> Module::NamedParameters() const {
  std::vector<NamedVariable> leaves;
  ForEach("", [&](const std::string& name, const Declared& declared) {
    leaves.push_back({name, declared.variable});
  });
  return leaves;
}

void Module::Initialize(uint64_t seed,
                        const std::function<void(const std::string&)>& filled) {
  ForEach("", [&](const std::string& name, const Declared& declared) {
    Tensor value = declared.variable.value();
    if (declared.init.std == 0) {
      kernels::fill(&value, declared.init.mean);
    } else {
      NW_CHECK_EQ(declared.init.mean, 0) << "of parameter " << name;
      const RandomKey key{.seed = seed, .step = Hash64(name)};
      kernels::normal(&value, key, declared.init.std);
    }
    if (filled) filled(name);
  });
}

Variable Module::AddParameter(std::string name, const Shape& shape, Init init) {
  const Variable variable(Tensor::Declared(shape, DType::kF32), true);
  members_.push_back({{std::move(name), variable, init}, nullptr});
  return variable;
}

void Module::AddPart(std::string name, Module* part) {
  members_.push_back({{std::move(name), Variable(), Init{}}, part});
}

}  // namespace nextword::layers
