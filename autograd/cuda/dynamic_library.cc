#include "autograd/cuda/dynamic_library.h"

#include <dlfcn.h>

#include <cstdlib>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "autograd/base/check.h"

namespace nextword {
namespace {

std::string CudaHome() {
  const char* const home = std::getenv("CUDA_HOME");
  return home != nullptr && *home != '\0' ? home : "/usr/local/cuda";
}

}  // namespace

absl::StatusOr<DynamicLibrary> DynamicLibrary::Load(const std::string& soname) {
  const std::string home = CudaHome();
  std::vector<std::string> errors;
  for (const std::string& path : {soname, absl::StrCat(home, "/lib64/", soname),
                                  absl::StrCat(home, "/lib/", soname)}) {
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

}  // namespace nextword
