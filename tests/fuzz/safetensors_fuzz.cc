#include <algorithm>
#include <cstdint>
#include <cstring>
#include <limits>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "autograd/base/status.h"
#include "distributed/safetensors.h"
#include "nlohmann/json.hpp"
#include "tests/fuzz/file_fuzz.h"
#include "tests/fuzz/fuzz_file.h"

namespace nextword {
namespace {

using Entry = SafetensorsFile::Entry;
using Json = nlohmann::json;

constexpr size_t kLengthBytes = 8;
constexpr char kName[] = "fuzz.safetensors";

std::string LengthBytes(uint64_t length) {
  std::string bytes(kLengthBytes, '\0');
  std::memcpy(bytes.data(), &length, kLengthBytes);
  return bytes;
}

absl::string_view BytesOf(const Tensor& tensor) {
  return {static_cast<const char*>(tensor.raw_data()),
          static_cast<size_t>(tensor.size_bytes())};
}

// The bytes behind the header.
absl::string_view ElementsOf(absl::string_view contents) {
  uint64_t length;
  std::memcpy(&length, contents.data(), kLengthBytes);
  return contents.substr(kLengthBytes + length);
}

void CheckParts(const SafetensorsFile& file, const std::string& name,
                const Entry& entry, absl::string_view bytes) {
  const int64_t count = entry.shape.numel();
  const int64_t first = count / 2;
  Tensor half = Empty({count - first}, *entry.dtype);
  NW_CHECK_OK(file.ReadPart(name, first, &half));
  NW_CHECK(BytesOf(half) == bytes.substr(first * DTypeSize(*entry.dtype)))
      << name << ": other bytes from element " << first;
  Tensor one_more = Empty({count - first + 1}, *entry.dtype);
  CheckRefusal(file.ReadPart(name, first, &one_more), file.path());
  Tensor none = Empty({0}, *entry.dtype);
  NW_CHECK_OK(file.ReadPart(name, count, &none));
  for (const int64_t wrong :
       {int64_t{-1}, count + 1, std::numeric_limits<int64_t>::max()}) {
    CheckRefusal(file.ReadPart(name, wrong, &none), file.path());
  }
}

// The tensor; of a dtype that is not ours, none.
Tensor ReadEntry(const SafetensorsFile& file, const std::string& name,
                 const Entry& entry, absl::string_view bytes) {
  const DType other = entry.dtype == DType::kF32 ? DType::kBF16 : DType::kF32;
  Tensor wrong = Empty({1}, other);
  CheckRefusal(file.Check(name, other, entry.shape), file.path());
  CheckRefusal(file.ReadPart(name, 0, &wrong), file.path());
  if (!entry.dtype.has_value()) return {};
  NW_CHECK_OK(file.Check(name, *entry.dtype, entry.shape));
  Tensor tensor = Empty(entry.shape, *entry.dtype);
  NW_CHECK_OK(file.Read(name, &tensor));
  NW_CHECK(BytesOf(tensor) == bytes) << name << ": other bytes";
  CheckParts(file, name, entry, bytes);
  return tensor;
}

std::string Write(const std::vector<NamedTensor>& tensors,
                  const std::map<std::string, std::string>& metadata) {
  std::string contents;
  NW_CHECK_OK(WriteSafetensors(tensors, metadata, [&](absl::string_view part) {
    contents.append(part.data(), part.size());
    return absl::OkStatus();
  }));
  return contents;
}

// Written again, the tensors are the same.
void CheckWrittenAgain(const std::vector<NamedTensor>& tensors,
                       const std::map<std::string, std::string>& metadata) {
  const std::string contents = Write(tensors, metadata);
  const std::string path = WriteFuzzFile("again.safetensors", contents);
  const absl::StatusOr<SafetensorsFile> again = SafetensorsFile::Open(path);
  NW_CHECK_OK(again.status());
  NW_CHECK(again->metadata() == metadata) << "other metadata once written";
  NW_CHECK_EQ(again->entries().size(), tensors.size());
  std::vector<NamedTensor> read;
  for (const NamedTensor& named : tensors) {
    const Entry& entry = again->entries().at(named.name);
    NW_CHECK_EQ(entry.begin % DTypeSize(named.tensor.dtype()), 0u);
    Tensor tensor = EmptyLike(named.tensor);
    NW_CHECK_OK(again->Read(named.name, &tensor));
    NW_CHECK(BytesOf(tensor) == BytesOf(named.tensor))
        << named.name << ": other bytes once written";
    read.push_back({named.name, tensor});
  }
  NW_CHECK(Write(read, metadata) == contents) << "other bytes for the same";
}

FuzzResult Drive(absl::string_view contents) {
  const std::string path = WriteFuzzFile(kName, contents);
  const absl::StatusOr<SafetensorsFile> file = SafetensorsFile::Open(path);
  if (!file.ok()) {
    CheckRefusal(file.status(), absl::StrCat(path, ":"));
    return FuzzResult::kRefused;
  }
  const absl::string_view elements = ElementsOf(contents);
  std::vector<NamedTensor> tensors;
  size_t bytes = 0;
  for (const auto& [name, entry] : file->entries()) {
    NW_CHECK(entry.begin <= entry.end && entry.end <= elements.size())
        << name << " lies outside the file";
    bytes += entry.end - entry.begin;
    const Tensor tensor =
        ReadEntry(*file, name, entry,
                  elements.substr(entry.begin, entry.end - entry.begin));
    if (tensor.defined()) tensors.push_back({name, tensor});
    const std::string absent = name + "'";
    if (file->entries().count(absent) > 0) continue;
    NW_CHECK(absl::IsNotFound(file->Check(absent, DType::kF32, {})));
  }
  NW_CHECK_EQ(bytes, elements.size()) << "bytes that are no tensor's";
  if (tensors.size() < file->entries().size()) return FuzzResult::kPartly;
  CheckWrittenAgain(tensors, file->metadata());
  return FuzzResult::kAccepted;
}

// The header, whose end is at the last brace where the length says nothing,
// with a length that is right and the elements that it asks for, if they are
// few.
std::string PutRight(absl::string_view input) {
  constexpr uint64_t kMostElements = 1 << 16;
  uint64_t length = 0;
  if (input.size() >= kLengthBytes) {
    std::memcpy(&length, input.data(), kLengthBytes);
    input.remove_prefix(kLengthBytes);
  }
  if (length == 0 || length > input.size()) length = input.rfind('}') + 1;
  const absl::string_view header = input.substr(0, length);
  uint64_t end = 0;
  const Json json = Json::parse(header.begin(), header.end(), nullptr,
                                /*allow_exceptions=*/false);
  for (const auto& [name, entry] : json.items()) {
    if (!entry.is_object() || !entry.contains("data_offsets")) continue;
    const Json& offsets = entry["data_offsets"];
    if (!offsets.is_array() || offsets.size() != 2) continue;
    if (!offsets[1].is_number_unsigned()) continue;
    end = std::max(end, offsets[1].get<uint64_t>());
  }
  std::string elements(std::min(end, kMostElements), '\1');
  const absl::string_view given = input.substr(header.size());
  std::copy_n(given.begin(), std::min(given.size(), elements.size()),
              elements.begin());
  return absl::StrCat(LengthBytes(header.size()), header, elements);
}

}  // namespace

FuzzResult DriveSafetensors(absl::string_view input) {
  const FuzzResult result = Drive(input);
  if (result != FuzzResult::kRefused) return result;
  return Drive(PutRight(input)) == FuzzResult::kRefused ? FuzzResult::kRefused
                                                        : FuzzResult::kPartly;
}

}  // namespace nextword
