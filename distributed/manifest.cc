#include "distributed/manifest.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "autograd/base/file.h"
#include "autograd/base/hash.h"
#include "autograd/base/status.h"
#include "configs/config_errors.h"
#include "configs/text_proto.h"
#include "google/protobuf/text_format.h"

namespace nextword {
namespace {

constexpr int kFormatVersion = 1;
constexpr char kChecksumPrefix[] = "# xxh3 of the lines above: ";

std::string ChecksumLine(absl::string_view body) {
  return absl::StrCat(kChecksumPrefix, HexDigits(Hash64(body)), "\n");
}

std::string PathOf(const std::string& directory) {
  return absl::StrCat(directory, "/", kManifestFile);
}

}  // namespace

absl::Status WriteManifest(const std::string& directory,
                           CheckpointManifest manifest) {
  manifest.set_format_version(kFormatVersion);
  std::string body;
  google::protobuf::TextFormat::PrintToString(manifest, &body);
  NW_ASSIGN_OR_RETURN(FileWriter file, FileWriter::Create(PathOf(directory)));
  NW_RETURN_IF_ERROR(file.Append(body));
  NW_RETURN_IF_ERROR(file.Append(ChecksumLine(body)));
  return file.SyncAndClose();
}

absl::StatusOr<CheckpointManifest> LoadManifest(const std::string& directory) {
  const std::string path = PathOf(directory);
  NW_ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  // Its length is known, so the body is all but the last so many bytes.
  const size_t line_size = ChecksumLine("").size();
  const size_t body_size = text.size() - std::min(line_size, text.size());
  const std::string body = text.substr(0, body_size);
  if (text.substr(body_size) != ChecksumLine(body)) {
    return absl::DataLossError(absl::StrCat(
        path, ": is damaged: its last line is not the checksum of the rest, ",
        HexDigits(Hash64(body))));
  }
  CheckpointManifest manifest;
  ConfigErrors errors;
  ReadTextProto(path, body, &manifest, &errors);
  // A later format may have fields that are unknown here: the version first.
  if (manifest.format_version() != kFormatVersion) {
    return absl::FailedPreconditionError(
        absl::StrCat(path, ": format_version: is ", manifest.format_version(),
                     ", wanted ", kFormatVersion));
  }
  NW_RETURN_IF_ERROR(errors.ToStatus());
  return manifest;
}

}  // namespace nextword
