// The secret that the processes of a job share, and other random names.
// Thread-safe.
#ifndef NEXTWORD_DISTRIBUTED_LAUNCHER_TOKEN_H_
#define NEXTWORD_DISTRIBUTED_LAUNCHER_TOKEN_H_

#include <string>

#include "absl/status/statusor.h"
#include "distributed/launcher/environment.h"

namespace nextword {

// `bits` (a multiple of 8) fresh random bits from the system, in hexadecimal.
absl::StatusOr<std::string> RandomHex(int bits);

// The token of a job: what `token_file` holds, white space at its end aside;
// without a file, the variable NEXTWORD_TOKEN; without that, 128 random bits,
// which nobody on another machine can know. Error: it is empty, or not made of
// visible ASCII characters; its text is never part of the message.
absl::StatusOr<std::string> JobToken(const std::string& token_file,
                                     const EnvironmentMap& environment);

}  // namespace nextword

#endif  // NEXTWORD_DISTRIBUTED_LAUNCHER_TOKEN_H_
