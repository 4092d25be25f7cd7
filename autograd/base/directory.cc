#include "autograd/base/directory.h"

#include <fcntl.h>
#include <stdio.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "autograd/base/fault_point.h"
#include "autograd/base/file.h"
#include "autograd/base/status.h"

namespace nextword {
namespace {

absl::Status ErrorCode(const std::error_code& error, absl::string_view path,
                       absl::string_view what) {
  if (!error) return absl::OkStatus();
  return absl::ErrnoToStatus(error.value(),
                             absl::StrCat(path, ": cannot ", what));
}

absl::Status Rename(const std::string& from, const std::string& to) {
  if (!FaultAt("rename", from) && rename(from.c_str(), to.c_str()) == 0) {
    return absl::OkStatus();
  }
  return FileError(to, absl::StrCat("rename ", from, " to it"));
}

// Exchanges two names. File systems that cannot (NFS) get two renames; between
// them neither folder has the name `to`.
absl::Status Exchange(const std::string& from, const std::string& to) {
  if (FaultAt("rename", to)) return FileError(to, "exchange");
  if (renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(),
                RENAME_EXCHANGE) == 0) {
    return absl::OkStatus();
  }
  if (errno != EINVAL && errno != ENOSYS) return FileError(to, "exchange");
  const std::string aside = absl::StrCat(from, ".old");
  NW_RETURN_IF_ERROR(RemoveTree(aside));
  NW_RETURN_IF_ERROR(Rename(to, aside));
  NW_RETURN_IF_ERROR(Rename(from, to));
  return Rename(aside, from);
}

}  // namespace

absl::StatusOr<std::vector<std::string>> ListDirectory(
    const std::string& directory) {
  std::error_code error;
  std::filesystem::directory_iterator entry(directory, error);
  std::vector<std::string> names;
  for (; !error && entry != std::filesystem::directory_iterator();
       entry.increment(error)) {
    names.push_back(entry->path().filename().string());
  }
  NW_RETURN_IF_ERROR(ErrorCode(error, directory, "list"));
  std::sort(names.begin(), names.end());
  return names;
}

bool IsDirectory(const std::string& path) {
  std::error_code ignored;
  return std::filesystem::is_directory(path, ignored);
}

absl::Status RemoveTree(const std::string& path) {
  std::error_code error;
  const auto info = std::filesystem::symlink_status(path, error);
  if (info.type() == std::filesystem::file_type::not_found) {
    return absl::OkStatus();
  }
  NW_RETURN_IF_ERROR(ErrorCode(error, path, "inspect"));
  if (info.type() == std::filesystem::file_type::directory) {
    NW_ASSIGN_OR_RETURN(const std::vector<std::string> names,
                        ListDirectory(path));
    for (const std::string& name : names) {
      NW_RETURN_IF_ERROR(RemoveTree(absl::StrCat(path, "/", name)));
    }
  }
  if (FaultAt("unlink", path)) return FileError(path, "remove");
  std::filesystem::remove(path, error);
  return ErrorCode(error, path, "remove");
}

absl::Status ReplaceDirectory(const std::string& from, const std::string& to) {
  const std::string parent = std::filesystem::path(to).parent_path().string();
  const bool exists = IsDirectory(to);
  NW_RETURN_IF_ERROR(exists ? Exchange(from, to) : Rename(from, to));
  NW_RETURN_IF_ERROR(SyncDirectory(parent.empty() ? "." : parent));
  return exists ? RemoveTree(from) : absl::OkStatus();
}

}  // namespace nextword
