#include "autograd/cuda/dynamic_library.h"

#include <dlfcn.h>

#include <cstdlib>
#include <mutex>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "autograd/base/check.h"

namespace nextword {
namespace {

// The value of an environment variable, or `otherwise`.
std::string Environment(const char* name, const std::string& otherwise) {
  const char* const value = std::getenv(name);
  return value != nullptr && *value != '\0' ? value : otherwise;
}

// Where NVIDIA's packages for Python lie that tools/setup.sh --cuda installs.
std::string Packages() {
  const std::string home = absl::StrCat(Environment("HOME", ""), "/.cache");
  return absl::StrCat(Environment("XDG_CACHE_HOME", home),
                      "/nextword/cuda/nvidia");
}

struct Noted {
  std::mutex mutex;
  std::map<std::string, std::string> versions;
};

Noted& GetNoted() {
  static auto* const noted = new Noted;
  return *noted;
}

}  // namespace

absl::StatusOr<DynamicLibrary> DynamicLibrary::Load(const std::string& soname) {
  const std::string home = Environment("CUDA_HOME", "/usr/local/cuda");
  const std::string packages = Packages();
  std::vector<std::string> errors;
  // In packages, cuDNN has a folder beside the toolkit's.
  for (const std::string& folder :
       {std::string(), absl::StrCat(home, "/lib64/"),
        absl::StrCat(home, "/lib/"), absl::StrCat(home, "/../cudnn/lib/"),
        absl::StrCat(packages, "/cu13/lib/"),
        absl::StrCat(packages, "/cudnn/lib/")}) {
    const std::string path = absl::StrCat(folder, soname);
    // Local: its symbols shall not meet those of another version.
    void* const handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (handle != nullptr) return DynamicLibrary(handle, path);
    errors.push_back(dlerror());
  }
  return absl::NotFoundError(absl::StrCat(
      soname, " cannot be loaded (", absl::StrJoin(errors, "; "),
      "): install it, or name its place: the toolkit in CUDA_HOME (now ", home,
      "), another folder in LD_LIBRARY_PATH"));
}

void* DynamicLibrary::FindSymbol(const char* name) const {
  void* const symbol = dlsym(handle_, name);
  NW_CHECK(symbol != nullptr)
      << path_ << " has no function " << name
      << ": a version other than this program was built for";
  return symbol;
}

void NoteLibraryVersion(const std::string& name, int64_t number) {
  Noted& noted = GetNoted();
  const std::lock_guard<std::mutex> lock(noted.mutex);
  noted.versions[name] =
      absl::StrCat(number / 10000, ".", number / 100 % 100, ".", number % 100);
}

std::map<std::string, std::string> LibraryVersions() {
  Noted& noted = GetNoted();
  const std::lock_guard<std::mutex> lock(noted.mutex);
  return noted.versions;
}

}  // namespace nextword
