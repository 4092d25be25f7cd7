// read_safetensors FILE: prints one line of JSON for each tensor, as our reader
// sees it, with the XXH3 of its bytes; last, the metadata. For
// safetensors_compat.py.
#include <algorithm>
#include <cstdint>
#include <iostream>
#include <string>

#include "absl/strings/string_view.h"
#include "autograd/base/file.h"
#include "autograd/base/hash.h"
#include "autograd/base/status.h"
#include "autograd/tensor/tensor.h"
#include "distributed/safetensors.h"
#include "nlohmann/json.hpp"

namespace nextword {
namespace {

using Entry = SafetensorsFile::Entry;
using Json = nlohmann::json;

// Bytes of a tensor; of a dtype that is not ours, straight from the file, whose
// end all elements reach to.
absl::StatusOr<std::string> ReadBytes(const SafetensorsFile& file,
                                      const std::string& name,
                                      const Entry& entry) {
  std::string bytes(entry.end - entry.begin, '\0');
  if (!entry.dtype.has_value()) {
    NW_ASSIGN_OR_RETURN(const FileReader reader, FileReader::Open(file.path()));
    uint64_t end = 0;
    for (const auto& [other, of] : file.entries()) {
      end = std::max<uint64_t>(end, of.end);
    }
    NW_RETURN_IF_ERROR(reader.Read(reader.size() - end + entry.begin,
                                   bytes.size(), bytes.data()));
    return bytes;
  }
  Tensor tensor = Empty(entry.shape, *entry.dtype);
  NW_RETURN_IF_ERROR(file.Read(name, &tensor));
  bytes.assign(static_cast<const char*>(tensor.raw_data()),
               tensor.size_bytes());
  return bytes;
}

absl::Status Print(const std::string& path) {
  NW_ASSIGN_OR_RETURN(const SafetensorsFile file, SafetensorsFile::Open(path));
  for (const auto& [name, entry] : file.entries()) {
    NW_ASSIGN_OR_RETURN(const std::string bytes, ReadBytes(file, name, entry));
    std::cout << Json{{"name", name},
                      {"dtype", entry.dtype_name},
                      {"shape", entry.shape.dims()},
                      {"xxh3", HexDigits(Hash64(bytes))}}
              << "\n";
  }
  std::cout << Json{{"metadata", file.metadata()}} << "\n";
  return absl::OkStatus();
}

}  // namespace
}  // namespace nextword

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: read_safetensors FILE\n";
    return 2;
  }
  const absl::Status status = nextword::Print(argv[1]);
  if (status.ok()) return 0;
  std::cerr << "read_safetensors: " << status.message() << "\n";
  return 1;
}
