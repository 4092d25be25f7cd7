// Text for sentences that end in logs and on terminals. Pure functions,
// thread-safe.
#ifndef NEXTWORD_DISTRIBUTED_RENDEZVOUS_PLAIN_TEXT_H_
#define NEXTWORD_DISTRIBUTED_RENDEZVOUS_PLAIN_TEXT_H_

#include <cstddef>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace nextword::rendezvous {

// `text`, which may be any bytes, as one line of valid UTF-8 without control
// characters: line ends and tabs become blanks, other offending bytes '?'. What
// is longer than `max_bytes` ends in "...".
std::string PlainText(absl::string_view text, size_t max_bytes);

// "0.4 s", "92 s", "12 min".
std::string PlainDuration(absl::Duration duration);

}  // namespace nextword::rendezvous

#endif  // NEXTWORD_DISTRIBUTED_RENDEZVOUS_PLAIN_TEXT_H_
