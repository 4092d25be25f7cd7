#include "tests/fuzz/fuzz_file.h"

#include <unistd.h>

#include <cstdlib>
#include <filesystem>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "autograd/base/file.h"
#include "autograd/base/status.h"

namespace nextword {
namespace {

// A folder of no other process, not even of one in another container.
std::string MakeFolder() {
  if (const char* const given = std::getenv("NEXTWORD_FUZZ_FOLDER")) {
    NW_CHECK_OK(MakeDirectories(given));
    return given;
  }
  const char* const temporary = std::getenv("TMPDIR");
  std::string base = temporary != nullptr ? temporary : "/tmp";
  if (access("/dev/shm", W_OK) == 0) base = "/dev/shm";
  std::string folder = absl::StrCat(base, "/nextword_fuzz.XXXXXX");
  NW_CHECK(mkdtemp(folder.data()) != nullptr) << folder;
  return folder;
}

const std::string& Folder() {
  static const std::string* const folder = [] {
    auto* const made = new std::string(MakeFolder());
    std::atexit([] {
      std::error_code ignored;
      std::filesystem::remove_all(Folder(), ignored);
    });
    return made;
  }();
  return *folder;
}

}  // namespace

std::string FuzzPath(absl::string_view name) {
  return absl::StrCat(Folder(), "/", name);
}

std::string WriteFuzzFile(absl::string_view name, absl::string_view bytes) {
  const std::string path = FuzzPath(name);
  absl::StatusOr<FileWriter> file = FileWriter::Create(path);
  NW_CHECK_OK(file.status());
  NW_CHECK_OK(file->Append(bytes));
  NW_CHECK_OK(file->Flush());
  return path;
}

void CheckRefusal(const absl::Status& status, absl::string_view path) {
  NW_CHECK(!status.ok()) << path << " should have been refused";
  NW_CHECK(absl::StartsWith(status.message(), path))
      << "an error that does not name " << path << ": " << status;
}

}  // namespace nextword
