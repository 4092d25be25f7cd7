#include "optim/optimizer.h"

#include "autograd/base/check.h"
#include "autograd/tensor/memory_label.h"
#include "optim/adamw.h"
#include "optim/muon.h"
#include "optim/sgd.h"

namespace nextword {

std::unique_ptr<Optimizer> MakeOptimizer(const OptimizerConfig& config,
                                         Parameters* parameters,
                                         const Pieces& pieces) {
  const MemoryLabel label("moments");
  switch (config.kind()) {
    case ADAMW:
      return std::make_unique<AdamW>(config, parameters, pieces);
    case MUON:
      NW_CHECK(!pieces.has_value()) << "Muon updates whole matrices";
      return std::make_unique<Muon>(config, parameters);
    case SGD:
      return std::make_unique<Sgd>(config, parameters, pieces);
  }
  NW_CHECK(false) << "optimizer " << config.kind();
  return nullptr;
}

}  // namespace nextword
