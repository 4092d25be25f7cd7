// What must be the same on all ranks. Pure functions, thread-safe.
#ifndef NEXTWORD_DISTRIBUTED_RENDEZVOUS_FACTS_H_
#define NEXTWORD_DISTRIBUTED_RENDEZVOUS_FACTS_H_

#include "absl/status/status.h"
#include "distributed/rendezvous/abort_sentence.h"

namespace nextword::rendezvous {

// FAILED_PRECONDITION with the first fact on which `members` differ, the values
// and who has which: "rank 1 on node-b: config is 12ab, the other 3 ranks have
// 34cd"; "config differs: ranks 0, 2 have 12ab, ranks 1, 3 have 34cd".
absl::Status CheckFacts(const Members& members);

}  // namespace nextword::rendezvous

#endif  // NEXTWORD_DISTRIBUTED_RENDEZVOUS_FACTS_H_
