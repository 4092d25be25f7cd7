// The manifest of a checkpoint, on disk: a text proto whose last line is a
// comment with the checksum of all lines above it, so that no number in it can
// change unseen. Thread-safe.
#ifndef NEXTWORD_DISTRIBUTED_MANIFEST_H_
#define NEXTWORD_DISTRIBUTED_MANIFEST_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "distributed/manifest.pb.h"

namespace nextword {

inline constexpr char kManifestFile[] = "manifest.textproto";

// Writes and syncs DIRECTORY/manifest.textproto.
absl::Status WriteManifest(const std::string& directory,
                           CheckpointManifest manifest);

// Reads it, in this version's format and with its checksum verified.
absl::StatusOr<CheckpointManifest> LoadManifest(const std::string& directory);

}  // namespace nextword

#endif  // NEXTWORD_DISTRIBUTED_MANIFEST_H_
