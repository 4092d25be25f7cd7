// Why a job is aborted, in one sentence: the cause, the rank, its host, what it
// was doing, and what the others do. Pure functions, thread-safe.
#ifndef NEXTWORD_DISTRIBUTED_RENDEZVOUS_ABORT_SENTENCE_H_
#define NEXTWORD_DISTRIBUTED_RENDEZVOUS_ABORT_SENTENCE_H_

#include <map>
#include <string>

#include "absl/time/time.h"
#include "distributed/rendezvous/member.h"

namespace nextword::rendezvous {

// The ranks of a generation.
using Members = std::map<int, Member>;

// "rank 3 on node-b".
std::string NameOf(const Member& member);

// "rank 1 on node-b: SENTENCE", "rank 1 on node-b (pid 4711) ended in backward
// of step 12: killed by signal 9; ..." or "... ended without a word in ...".
std::string SentenceOfTrouble(const Members& members, const Member& culprit,
                              absl::Time now);

// "rank 1 on node-b has sent no sign of life for 10 s, last in ...".
std::string SentenceOfSilence(const Members& members, const Member& culprit,
                              absl::Time now);

// "rank 3 on node-b has been in data read (train.tokens) of step 7 for 92 s;
// the other 7 ranks wait in all-reduce of bucket 2".
std::string SentenceOfDeadline(const Members& members, const Member& culprit,
                               absl::Time now);

// Who holds up `late`, which has been too long in its phase: itself, or, when
// it only waits for others, one that does not wait, or else one of the fewest
// that wait for something else.
const Member& WhoHoldsUp(const Members& members, const Member& late);

}  // namespace nextword::rendezvous

#endif  // NEXTWORD_DISTRIBUTED_RENDEZVOUS_ABORT_SENTENCE_H_
