// Libraries that are loaded when they are first needed: a binary with GPU code
// starts, and runs on the CPU, on a machine that has none of NVIDIA's.
#ifndef NEXTWORD_AUTOGRAD_CUDA_DYNAMIC_LIBRARY_H_
#define NEXTWORD_AUTOGRAD_CUDA_DYNAMIC_LIBRARY_H_

#include <cstdint>
#include <map>
#include <string>
#include <type_traits>

#include "absl/status/statusor.h"

namespace nextword {

// A loaded library. It stays loaded as long as the process lives, so copies and
// the functions found in it stay valid. Thread-safe.
class DynamicLibrary {
 public:
  // Loads `soname`, for instance "libcudnn.so.9", from where the dynamic linker
  // looks, else from the toolkit, $CUDA_HOME or by default /usr/local/cuda,
  // else from the packages that tools/setup.sh --cuda installs. NotFound says
  // what was tried and what can be done.
  static absl::StatusOr<DynamicLibrary> Load(const std::string& soname);

  // The function `name` of type F. CHECKs that the library has it; its type is
  // taken on trust (see NW_LIBRARY_FUNCTION).
  template <typename F>
  F* Find(const char* name) const {
    static_assert(std::is_function_v<F>);
    return reinterpret_cast<F*>(FindSymbol(name));
  }

  // What dlopen returned, and where it was found.
  void* handle() const { return handle_; }
  const std::string& path() const { return path_; }

 private:
  DynamicLibrary(void* handle, const std::string& path)
      : handle_(handle), path_(path) {}

  void* FindSymbol(const char* name) const;

  void* handle_;
  std::string path_;
};

// Notes which version of a library is in use, for the record. `number` is as
// NVIDIA's libraries tell it: 10000 major + 100 minor + patch. Thread-safe, and
// so is what follows.
void NoteLibraryVersion(const std::string& name, int64_t number);

// Of the libraries that have been loaded so far: {"cudnn", "9.13.0"}.
std::map<std::string, std::string> LibraryVersions();

}  // namespace nextword

// Declares a member `name`, the function of that name and type in a library's
// header, to be found in `library`.
#define NW_LIBRARY_FUNCTION(library, name) \
  decltype(&::name) const name = (library).Find<decltype(::name)>(#name)

#endif  // NEXTWORD_AUTOGRAD_CUDA_DYNAMIC_LIBRARY_H_
