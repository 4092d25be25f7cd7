#include "distributed/safetensors.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <set>
#include <sstream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "autograd/base/check.h"
#include "autograd/base/parallel.h"
#include "autograd/base/status.h"
#include "autograd/tensor/allocator.h"
#include "configs/nearest_name.h"
#include "nlohmann/json.hpp"

namespace nextword {
namespace {

using nlohmann::json;
using Entry = SafetensorsFile::Entry;

constexpr size_t kLengthBytes = 8;
constexpr size_t kAlignment = 8;
// The limit of the reference implementation.
constexpr uint64_t kMaxHeaderBytes = 100'000'000;
constexpr char kMetadata[] = "__metadata__";

// The format's dtypes: name, bytes per element, and ours where we have it.
struct FormatDType {
  const char* name;
  size_t size;
  std::optional<DType> dtype;
};
constexpr FormatDType kFormatDTypes[] = {
    {"F32", 4, DType::kF32},   {"BF16", 2, DType::kBF16},
    {"I32", 4, DType::kI32},   {"F64", 8, DType::kF64},
    {"F16", 2, std::nullopt},  {"F8_E4M3", 1, std::nullopt},
    {"I64", 8, std::nullopt},  {"F8_E5M2", 1, std::nullopt},
    {"U64", 8, std::nullopt},  {"U32", 4, std::nullopt},
    {"I16", 2, std::nullopt},  {"U16", 2, std::nullopt},
    {"I8", 1, std::nullopt},   {"U8", 1, std::nullopt},
    {"BOOL", 1, std::nullopt},
};

const char* FormatName(DType dtype) {
  for (const FormatDType& format : kFormatDTypes) {
    if (format.dtype == dtype) return format.name;
  }
  NW_CHECK(false) << "dtype " << dtype << " has no name in safetensors";
  return "";
}

const FormatDType* FindFormat(const std::string& name) {
  for (const FormatDType& format : kFormatDTypes) {
    if (name == format.name) return &format;
  }
  return nullptr;
}

std::string Describe(absl::string_view dtype_name, const Shape& shape) {
  std::ostringstream text;
  text << dtype_name << shape;
  return text.str();
}

// Larger elements first: every tensor then starts at a multiple of its
// element's size.
std::vector<const NamedTensor*> InFileOrder(
    absl::Span<const NamedTensor> tensors) {
  std::vector<const NamedTensor*> order;
  for (const NamedTensor& named : tensors) order.push_back(&named);
  std::stable_sort(order.begin(), order.end(),
                   [](const NamedTensor* a, const NamedTensor* b) {
                     return DTypeSize(a->tensor.dtype()) >
                            DTypeSize(b->tensor.dtype());
                   });
  return order;
}

absl::StatusOr<std::string> MakeHeader(
    const std::vector<const NamedTensor*>& order,
    const std::map<std::string, std::string>& metadata) {
  json header = json::object();
  if (!metadata.empty()) header[kMetadata] = metadata;
  int64_t offset = 0;
  for (const NamedTensor* named : order) {
    NW_CHECK(named->name != kMetadata && !header.contains(named->name))
        << "two tensors named " << named->name;
    const Tensor& tensor = named->tensor;
    const int64_t end = offset + tensor.size_bytes();
    header[named->name] = {{"dtype", FormatName(tensor.dtype())},
                           {"shape", tensor.shape().dims()},
                           {"data_offsets", {offset, end}}};
    offset = end;
  }
  try {
    std::string text = header.dump();
    text.resize((text.size() + kAlignment - 1) / kAlignment * kAlignment, ' ');
    return text;
  } catch (const json::exception& error) {
    return absl::InvalidArgumentError(
        absl::StrCat("names of tensors, wanted UTF-8: ", error.what()));
  }
}

// Parses an object whose keys differ at every level: a reader that takes the
// first and one that takes the last would see different tensors.
absl::StatusOr<json> ParseHeader(absl::string_view text) {
  std::vector<std::set<std::string>> keys;
  std::string twice;
  const json::parser_callback_t see = [&](int, json::parse_event_t event,
                                          json& parsed) {
    if (event == json::parse_event_t::object_start) keys.emplace_back();
    if (event == json::parse_event_t::object_end) keys.pop_back();
    if (event == json::parse_event_t::key &&
        !keys.back().insert(parsed.get<std::string>()).second) {
      twice = parsed.get<std::string>();
    }
    return true;
  };
  json header = json::parse(text.begin(), text.end(), see,
                            /*allow_exceptions=*/false);
  if (!header.is_object()) {
    return absl::InvalidArgumentError("the header is not a JSON object");
  }
  if (!twice.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("the header has ", twice, " twice"));
  }
  return header;
}

bool IsListOfSizes(const json& value) {
  return value.is_array() &&
         std::all_of(value.begin(), value.end(), [](const json& size) {
           return size.is_number_unsigned() &&
                  size.get<uint64_t>() <= INT64_MAX;
         });
}

// Bytes of a tensor; nothing when they do not fit 63 bits, multiplied from the
// first dimension on, as Shape and the format's own library do: a zero that
// comes too late does not help.
std::optional<int64_t> SizeInBytes(const std::vector<int64_t>& dims,
                                   size_t element_size) {
  int64_t bytes = static_cast<int64_t>(element_size);
  for (int64_t dim : dims) {
    if (__builtin_mul_overflow(bytes, dim, &bytes)) return std::nullopt;
  }
  return bytes;
}

absl::StatusOr<Entry> ParseEntry(const json& value) {
  const auto wrong = [](absl::string_view what) {
    return absl::InvalidArgumentError(what);
  };
  if (!value.is_object() || !value.contains("dtype") ||
      !value["dtype"].is_string()) {
    return wrong("has no dtype");
  }
  Entry entry;
  entry.dtype_name = value["dtype"].get<std::string>();
  const FormatDType* format = FindFormat(entry.dtype_name);
  if (format == nullptr) {
    return wrong(absl::StrCat("has the unknown dtype ", entry.dtype_name));
  }
  entry.dtype = format->dtype;
  if (!value.contains("shape") || !IsListOfSizes(value["shape"])) {
    return wrong("has no shape, a list of sizes from 0 to 2^63 - 1");
  }
  if (!value.contains("data_offsets") ||
      !IsListOfSizes(value["data_offsets"]) ||
      value["data_offsets"].size() != 2) {
    return wrong("has no data_offsets, a list of two");
  }
  const auto dims = value["shape"].get<std::vector<int64_t>>();
  const std::optional<int64_t> bytes = SizeInBytes(dims, format->size);
  entry.begin = value["data_offsets"][0].get<size_t>();
  entry.end = value["data_offsets"][1].get<size_t>();
  if (!bytes.has_value()) {
    return wrong(absl::StrCat("has a shape too large for memory, ",
                              value["shape"].dump()));
  }
  if (entry.end < entry.begin ||
      entry.end - entry.begin != static_cast<size_t>(*bytes)) {
    return wrong(absl::StrCat("lies at ", value["data_offsets"].dump(),
                              ", wanted ", *bytes, " bytes for ",
                              entry.dtype_name, value["shape"].dump()));
  }
  entry.shape = Shape(dims);
  return entry;
}

// The tensors must follow one another from 0 to the end of the file.
absl::Status CheckCoverage(const std::map<std::string, Entry>& entries,
                           size_t data_size) {
  std::vector<const std::pair<const std::string, Entry>*> order;
  for (const auto& named : entries) order.push_back(&named);
  std::sort(order.begin(), order.end(), [](const auto* a, const auto* b) {
    return std::pair(a->second.begin, a->second.end) <
           std::pair(b->second.begin, b->second.end);
  });
  size_t end = 0;
  for (const auto* named : order) {
    if (named->second.begin != end) {
      return absl::InvalidArgumentError(absl::StrCat(
          "tensor ", named->first, " starts at byte ", named->second.begin,
          ", wanted ", end, ", where the one before it ends"));
    }
    end = named->second.end;
  }
  if (end == data_size) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("has ", data_size, " bytes of elements, wanted ", end,
                   end > data_size ? ": it is cut off" : ""));
}

// That a thread reads at a time.
constexpr int64_t kReadBytes = int64_t{1} << 21;
// Bytes that are under way to a device at a time.
constexpr int64_t kUploadBytes = int64_t{1} << 24;

// Fills `into` with the bytes of `file` from `offset` on.
absl::Status ReadInto(const FileReader& file, uint64_t offset, Tensor* into) {
  char* const to = static_cast<char*>(into->raw_data());
  const int64_t size = into->size_bytes();
  if (into->device() == Device::Cpu()) {
    // New memory costs more than the copy; threads share it.
    std::vector<absl::Status> statuses(NumChunks(size, kReadBytes));
    ParallelFor(size, kReadBytes, [&](int64_t begin, int64_t end) {
      statuses[begin / kReadBytes] =
          file.Read(offset + begin, end - begin, to + begin);
    });
    for (const absl::Status& status : statuses) NW_RETURN_IF_ERROR(status);
    return absl::OkStatus();
  }
  std::string piece;
  for (int64_t at = 0; at < size; at += kUploadBytes) {
    piece.resize(std::min(kUploadBytes, size - at));
    NW_RETURN_IF_ERROR(file.Read(offset + at, piece.size(), piece.data()));
    AllocatorFor(into->device()).Upload(piece.data(), to + at, piece.size());
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status WriteSafetensors(
    absl::Span<const NamedTensor> tensors,
    const std::map<std::string, std::string>& metadata, const ByteSink& sink,
    const ElementWriter& elements) {
  const std::vector<const NamedTensor*> order = InFileOrder(tensors);
  NW_ASSIGN_OR_RETURN(const std::string header, MakeHeader(order, metadata));
  const uint64_t length = header.size();
  char length_bytes[kLengthBytes];
  std::memcpy(length_bytes, &length, kLengthBytes);
  NW_RETURN_IF_ERROR(sink(absl::string_view(length_bytes, kLengthBytes)));
  NW_RETURN_IF_ERROR(sink(header));
  for (const NamedTensor* named : order) {
    if (elements) {
      NW_RETURN_IF_ERROR(elements(*named, sink));
      continue;
    }
    const Tensor tensor = ToDevice(named->tensor, Device::Cpu());
    NW_RETURN_IF_ERROR(sink(absl::string_view(
        static_cast<const char*>(tensor.raw_data()), tensor.size_bytes())));
  }
  return absl::OkStatus();
}

absl::Status WriteSafetensors(
    FileWriter& file, absl::Span<const NamedTensor> tensors,
    const std::map<std::string, std::string>& metadata) {
  return WriteSafetensors(tensors, metadata, [&](absl::string_view bytes) {
    return file.Append(bytes);
  });
}

struct SafetensorsFile::State {
  std::string path;
  FileReader file;
  uint64_t data_begin = 0;  // Of the elements, in the file.
  std::map<std::string, Entry> entries = {};
  std::map<std::string, std::string> metadata = {};

  absl::Status Parse();
  absl::Status ParseMetadata(const json& value);
};

absl::Status SafetensorsFile::State::Parse() {
  if (file.size() < kLengthBytes) {
    return absl::InvalidArgumentError(absl::StrCat(
        "has ", file.size(), " bytes, wanted ", kLengthBytes, " or more"));
  }
  uint64_t length;
  NW_RETURN_IF_ERROR(file.Read(0, kLengthBytes, &length));
  const uint64_t longest =
      std::min<uint64_t>(kMaxHeaderBytes, file.size() - kLengthBytes);
  if (length > longest) {
    return absl::InvalidArgumentError(
        absl::StrCat("has a header of ", length, " bytes, wanted at most ",
                     longest, ": it is cut off or no safetensors file"));
  }
  std::string text(length, '\0');
  NW_RETURN_IF_ERROR(file.Read(kLengthBytes, text.size(), text.data()));
  NW_ASSIGN_OR_RETURN(const json header, ParseHeader(text));
  data_begin = kLengthBytes + length;
  for (const auto& [name, value] : header.items()) {
    if (name == kMetadata) {
      NW_RETURN_IF_ERROR(ParseMetadata(value));
      continue;
    }
    absl::StatusOr<Entry> entry = ParseEntry(value);
    if (!entry.ok()) {
      return absl::InvalidArgumentError(
          absl::StrCat("tensor ", name, " ", entry.status().message()));
    }
    entries.emplace(name, *std::move(entry));
  }
  return CheckCoverage(entries, file.size() - data_begin);
}

absl::Status SafetensorsFile::State::ParseMetadata(const json& value) {
  const bool fine = value.is_object() && std::all_of(value.begin(), value.end(),
                                                     [](const json& text) {
                                                       return text.is_string();
                                                     });
  if (!fine) {
    return absl::InvalidArgumentError(
        absl::StrCat(kMetadata, " is not an object of strings"));
  }
  metadata = value.get<std::map<std::string, std::string>>();
  return absl::OkStatus();
}

absl::StatusOr<SafetensorsFile> SafetensorsFile::Open(const std::string& path) {
  NW_ASSIGN_OR_RETURN(FileReader file, FileReader::Open(path));
  auto state = std::make_shared<State>(State{path, std::move(file)});
  const absl::Status status = state->Parse();
  if (absl::IsInvalidArgument(status)) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": ", status.message()));
  }
  NW_RETURN_IF_ERROR(status);
  return SafetensorsFile(std::move(state));
}

SafetensorsFile::SafetensorsFile(std::shared_ptr<const State> state)
    : state_(std::move(state)) {}

const std::string& SafetensorsFile::path() const { return state_->path; }

const std::map<std::string, Entry>& SafetensorsFile::entries() const {
  return state_->entries;
}

const std::map<std::string, std::string>& SafetensorsFile::metadata() const {
  return state_->metadata;
}

absl::Status SafetensorsFile::Check(const std::string& name, DType dtype,
                                    const Shape& shape) const {
  const auto found = entries().find(name);
  if (found == entries().end()) {
    std::vector<std::string> names;
    for (const auto& [other, entry] : entries()) names.push_back(other);
    const std::string near = NearestName(name, names);
    return absl::NotFoundError(absl::StrCat(
        path(), ": has no tensor ", name,
        near.empty() ? "" : absl::StrCat("; did you mean ", near, "?")));
  }
  const Entry& entry = found->second;
  if (entry.dtype == dtype && entry.shape == shape) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(path(), ": tensor ", name, " is ",
                   Describe(entry.dtype_name, entry.shape), ", wanted ",
                   Describe(FormatName(dtype), shape)));
}

absl::Status SafetensorsFile::Read(const std::string& name,
                                   Tensor* into) const {
  NW_RETURN_IF_ERROR(Check(name, into->dtype(), into->shape()));
  Tensor elements = into->Reshape({into->numel()});
  return ReadPart(name, 0, &elements);
}

absl::Status SafetensorsFile::ReadPart(const std::string& name, int64_t first,
                                       Tensor* into) const {
  const auto found = entries().find(name);
  if (found == entries().end()) {
    return Check(name, into->dtype(), into->shape());
  }
  const Entry& entry = found->second;
  const int64_t count = entry.shape.numel();
  if (entry.dtype != into->dtype() || first < 0 || first > count ||
      into->numel() > count - first) {
    return absl::InvalidArgumentError(absl::StrCat(
        path(), ": tensor ", name, " is ",
        Describe(entry.dtype_name, entry.shape), ", wanted its elements from ",
        first, " on, as ", Describe(FormatName(into->dtype()), into->shape())));
  }
  const size_t size = DTypeSize(into->dtype());
  return ReadInto(state_->file, state_->data_begin + entry.begin + first * size,
                  into);
}

}  // namespace nextword
