// What the coordinator accepts from anybody: far more than a job needs, and
// little enough that no peer can fill its memory.
#ifndef NEXTWORD_DISTRIBUTED_RENDEZVOUS_LIMITS_H_
#define NEXTWORD_DISTRIBUTED_RENDEZVOUS_LIMITS_H_

#include <cstddef>

namespace nextword::rendezvous {

// Of the messages; raised when their meaning changes.
inline constexpr int kProtocol = 1;

inline constexpr char kTokenKey[] = "nextword-token-bin";
inline constexpr size_t kMaxTokenBytes = 1024;

inline constexpr int kMaxWorldSize = 4096;
inline constexpr int kMaxLaunchers = 4096;
inline constexpr size_t kMaxRunIdBytes = 256;
inline constexpr size_t kMaxHostBytes = 256;

inline constexpr int kMaxFacts = 256;
inline constexpr size_t kMaxFactNameBytes = 256;
inline constexpr size_t kMaxFactValueBytes = 4096;

inline constexpr size_t kMaxKeyBytes = 1024;
inline constexpr size_t kMaxValueBytes = 1 << 20;
inline constexpr size_t kMaxKeys = 1 << 16;
inline constexpr size_t kMaxStoreBytes = 256 << 20;
inline constexpr size_t kMaxWaitingGets = 1 << 16;

// Longer texts are cut. gRPC carries sentences in a header of 8 KiB.
inline constexpr size_t kMaxPhaseBytes = 64;
inline constexpr size_t kMaxDetailBytes = 256;
inline constexpr size_t kMaxReasonBytes = 1024;
inline constexpr size_t kMaxSentenceBytes = 2048;

// Holds the largest value, and a JoinRequest with the largest facts.
inline constexpr int kMaxMessageBytes = 2 << 20;

}  // namespace nextword::rendezvous

#endif  // NEXTWORD_DISTRIBUTED_RENDEZVOUS_LIMITS_H_
