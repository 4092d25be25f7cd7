#include "distributed/trained_model.h"

#include <utility>

#include "autograd/base/status.h"
#include "distributed/compute_dtype.h"
#include "distributed/device.h"
#include "distributed/run_checkpoints.h"

namespace nextword {

std::vector<NamedTensor> NamedWeights(const Parameters& parameters) {
  std::vector<NamedTensor> weights;
  for (const Parameters::Entry& entry : parameters.entries()) {
    weights.push_back({entry.name, parameters.ValueOf(entry)});
  }
  return weights;
}

absl::StatusOr<TrainedModel> TrainedModel::Load(const std::string& path,
                                                Device device) {
  NW_ASSIGN_OR_RETURN(const Checkpoint checkpoint, OpenCheckpoint(path));
  NW_RETURN_IF_ERROR(CheckKernelsFor(checkpoint.manifest().model(), device));
  NW_ASSIGN_OR_RETURN(Tokenizer tokenizer,
                      Tokenizer::Load(checkpoint.tokenizer_path()));
  auto model =
      std::make_unique<layers::Transformer>(checkpoint.manifest().model());
  auto parameters = std::make_unique<Parameters>(model->NamedParameters(),
                                                 DType::kF32, device);
  NW_RETURN_IF_ERROR(checkpoint.ReadWeights(NamedWeights(*parameters)));
  // It predicts as it did when it was trained.
  SetNumerics(checkpoint.config());
  if (checkpoint.config().optimizer().stochastic_rounding()) {
    parameters->RoundStochastically(checkpoint.config().seed());
  }
  parameters->ComputeIn(ComputeDTypeOf(checkpoint.config()), std::nullopt,
                        checkpoint.manifest().step());
  return TrainedModel{checkpoint.directory(), checkpoint.config(),
                      std::move(tokenizer), std::move(model),
                      std::move(parameters)};
}

}  // namespace nextword
