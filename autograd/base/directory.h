// Folders: listing, removal, and a folder that appears whole or not at all.
// Every error names the path and the system's reason. Thread-safe on
// different folders.
#ifndef NEXTWORD_AUTOGRAD_BASE_DIRECTORY_H_
#define NEXTWORD_AUTOGRAD_BASE_DIRECTORY_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace nextword {

// Names in `directory`, sorted. A missing folder is an error, NotFound.
absl::StatusOr<std::vector<std::string>> ListDirectory(
    const std::string& directory);

bool IsDirectory(const std::string& path);

// Removes a file, or a folder and all in it; fine when there is none.
absl::Status RemoveTree(const std::string& path);

// Gives the folder `from` the name `to`, durably; both lie in one folder. A
// folder that has that name already is exchanged for the new one in one
// operation, then removed.
absl::Status ReplaceDirectory(const std::string& from, const std::string& to);

}  // namespace nextword

#endif  // NEXTWORD_AUTOGRAD_BASE_DIRECTORY_H_
