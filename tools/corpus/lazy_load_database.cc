#include "tools/corpus/lazy_load_database.h"

#include <variant>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "autograd/base/file.h"
#include "autograd/base/status.h"
#include "tools/corpus/inflate.h"

namespace nextword {
namespace {

constexpr size_t kMaxIndexSize = size_t{1} << 20;
constexpr size_t kMaxBlockSize = size_t{1} << 28;

// How R's makeLazyLoadDB names compression: 1 is zlib; 2 and 3 (bzip2, xz) put
// a letter before the stream.
constexpr int kZlib = 1;

absl::Status InFile(const std::string& path, const absl::Status& status) {
  return absl::Status(status.code(),
                      absl::StrCat(path, ": ", status.message()));
}

// The element of a named list, or null.
const RValue* Find(const RValue& value, absl::string_view name) {
  const auto* list = std::get_if<RValue::List>(&value.data);
  if (list == nullptr || value.names.size() != list->size()) return nullptr;
  for (size_t i = 0; i < list->size(); ++i) {
    if (value.names[i] == name) return &(*list)[i];
  }
  return nullptr;
}

}  // namespace

absl::StatusOr<LazyLoadDatabase> LazyLoadDatabase::Open(
    const std::string& stem) {
  NW_ASSIGN_OR_RETURN(std::vector<Block> blocks,
                      ReadIndex(absl::StrCat(stem, ".rdx")));
  std::string path = absl::StrCat(stem, ".rdb");
  NW_ASSIGN_OR_RETURN(std::string bytes, ReadFile(path));
  return LazyLoadDatabase(std::move(path), std::move(bytes), std::move(blocks));
}

absl::StatusOr<std::vector<LazyLoadDatabase::Block>>
LazyLoadDatabase::ReadIndex(const std::string& path) {
  NW_ASSIGN_OR_RETURN(const std::string compressed, ReadFile(path));
  const absl::StatusOr<std::string> bytes = Inflate(compressed, kMaxIndexSize);
  if (!bytes.ok()) return InFile(path, bytes.status());
  const absl::StatusOr<RValue> index = ParseRSerialization(*bytes);
  if (!index.ok()) return InFile(path, index.status());

  const RValue* compression = Find(*index, "compressed");
  const RValue* variables = Find(*index, "variables");
  if (compression == nullptr || variables == nullptr) {
    return InFile(path, absl::InvalidArgumentError(
                            "no index of an R database (wanted a list with "
                            "`variables` and `compressed`)"));
  }
  const auto* kind = std::get_if<RValue::Integers>(&compression->data);
  if (kind == nullptr || *kind != RValue::Integers{kZlib}) {
    return InFile(path, absl::InvalidArgumentError(
                            "blocks are not compressed by zlib (type 1)"));
  }
  const auto* list = std::get_if<RValue::List>(&variables->data);
  if (list == nullptr || list->size() != variables->names.size()) {
    return InFile(path,
                  absl::InvalidArgumentError("`variables` is no named list"));
  }
  std::vector<Block> blocks;
  for (size_t i = 0; i < list->size(); ++i) {
    const std::string& name = variables->names[i];
    const auto* place = std::get_if<RValue::Integers>(&(*list)[i].data);
    if (place == nullptr || place->size() != 2) {
      return InFile(path, absl::InvalidArgumentError(absl::StrCat(
                              "variable ", name, " has no offset and length")));
    }
    blocks.push_back({name, (*place)[0], (*place)[1]});
  }
  return blocks;
}

absl::StatusOr<RValue> LazyLoadDatabase::Load(
    absl::string_view variable) const {
  std::vector<absl::string_view> names;
  for (const Block& block : blocks_) {
    if (block.variable == variable) {
      absl::StatusOr<RValue> value = Load(block);
      if (value.ok()) return value;
      return InFile(absl::StrCat(path_, ": ", variable), value.status());
    }
    names.push_back(block.variable);
  }
  return absl::NotFoundError(absl::StrCat(path_, ": no variable ", variable,
                                          "; there are ",
                                          absl::StrJoin(names, ", ")));
}

absl::StatusOr<RValue> LazyLoadDatabase::Load(const Block& block) const {
  constexpr int kPrefix = 4;
  if (block.offset < 0 || block.length < kPrefix ||
      int64_t{block.offset} + block.length >
          static_cast<int64_t>(bytes_.size())) {
    return absl::OutOfRangeError(
        absl::StrCat("block at ", block.offset, " of ", block.length,
                     " bytes, in a file of ", bytes_.size()));
  }
  const absl::string_view bytes =
      absl::string_view(bytes_).substr(block.offset, block.length);
  size_t size = 0;
  for (unsigned char c : bytes.substr(0, kPrefix)) size = size << 8 | c;
  if (size > kMaxBlockSize) {
    return absl::InvalidArgumentError(absl::StrCat(
        "block of ", size, " bytes, wanted at most ", kMaxBlockSize));
  }
  NW_ASSIGN_OR_RETURN(const std::string serialized,
                      Inflate(bytes.substr(kPrefix), size));
  if (serialized.size() != size) {
    return absl::DataLossError(absl::StrCat(
        "block inflates to ", serialized.size(), " bytes, wanted ", size));
  }
  return ParseRSerialization(serialized);
}

}  // namespace nextword
