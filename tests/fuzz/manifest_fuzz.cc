#include <string>

#include "absl/strings/str_cat.h"
#include "autograd/base/file.h"
#include "autograd/base/hash.h"
#include "autograd/base/status.h"
#include "distributed/manifest.h"
#include "google/protobuf/text_format.h"
#include "tests/fuzz/file_fuzz.h"
#include "tests/fuzz/fuzz_file.h"

namespace nextword {
namespace {

std::string Print(const CheckpointManifest& manifest) {
  std::string text;
  NW_CHECK(google::protobuf::TextFormat::PrintToString(manifest, &text));
  return text;
}

// Whether it is accepted; if so, it is the same once written and read again.
bool Accepts(absl::string_view text) {
  const std::string path = WriteFuzzFile(kManifestFile, text);
  const std::string folder = FuzzPath("");
  const absl::StatusOr<CheckpointManifest> manifest = LoadManifest(folder);
  if (!manifest.ok()) {
    CheckRefusal(manifest.status(), absl::StrCat(folder, "/", kManifestFile));
    return false;
  }
  NW_CHECK_OK(WriteManifest(folder, *manifest));
  const absl::StatusOr<CheckpointManifest> again = LoadManifest(folder);
  NW_CHECK_OK(again.status());
  NW_CHECK(Print(*again) == Print(*manifest)) << "another once written";
  // What a writer wrote has one form only.
  const absl::StatusOr<std::string> written = ReadFile(path);
  NW_CHECK_OK(written.status());
  NW_CHECK_OK(WriteManifest(folder, *again));
  NW_CHECK(*ReadFile(path) == *written) << "other bytes at the second time";
  return true;
}

}  // namespace

FuzzResult DriveManifest(absl::string_view input) {
  if (Accepts(input)) return FuzzResult::kAccepted;
  const std::string with_checksum = absl::StrCat(
      input, "# xxh3 of the lines above: ", HexDigits(Hash64(input)), "\n");
  return Accepts(with_checksum) ? FuzzResult::kPartly : FuzzResult::kRefused;
}

}  // namespace nextword
