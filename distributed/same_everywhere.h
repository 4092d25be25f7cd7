// Things that must be the same on every rank.
#ifndef NEXTWORD_DISTRIBUTED_SAME_EVERYWHERE_H_
#define NEXTWORD_DISTRIBUTED_SAME_EVERYWHERE_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "autograd/tensor/tensor.h"
#include "distributed/collectives/communicator.h"

namespace nextword {

// Compares the fingerprints that the ranks have of `what`, such as "corpus".
// Error, ABORTED on all ranks: they differ; it says which ranks have which, the
// fewest last. Collective.
absl::Status CheckSame(const char* what, uint64_t fingerprint,
                       Communicator* communicator);

// Makes `bytes`, at most 2 GiB, what the lead has. Collective.
absl::Status Share(const char* what, std::string* bytes,
                   Communicator* communicator);

// Of the bytes of a tensor.
uint64_t HashOf(const Tensor& tensor);

}  // namespace nextword

#endif  // NEXTWORD_DISTRIBUTED_SAME_EVERYWHERE_H_
