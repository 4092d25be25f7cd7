#include "layers/forward_context.h"

#include "autograd/base/hash.h"
#include "autograd/ops/activation.h"

namespace nextword::layers {

bool IsWanted(const ForwardContext& context, const std::string& prefix,
              const char* name) {
  return context.tap != nullptr && context.tap->Wants(prefix + name);
}

Variable Visit(const ForwardContext& context, const std::string& prefix,
               const char* name, const Variable& x) {
  if (!IsWanted(context, prefix, name)) return x;
  return context.tap->Visit(prefix + name, x);
}

Variable DropoutAt(const ForwardContext& context, const std::string& prefix,
                   const char* name, const Variable& x) {
  if (context.dropout == 0) return x;
  RandomKey key = context.random;
  key.site = static_cast<uint32_t>(Hash64(prefix + name));
  return Dropout(x, context.dropout, key);
}

}  // namespace nextword::layers
