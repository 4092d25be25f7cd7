// The database in which an installed R package keeps its data.
//
// STEM.rdx is a compressed list of variables, each with the offset and length
// of a block in STEM.rdb; a block is its uncompressed length (4 bytes, big
// endian) and a zlib stream of one serialized value. Owns the file's bytes;
// immutable, so thread-safe.
#ifndef NEXTWORD_TOOLS_CORPUS_LAZY_LOAD_DATABASE_H_
#define NEXTWORD_TOOLS_CORPUS_LAZY_LOAD_DATABASE_H_

#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "tools/corpus/r_serialization.h"

namespace nextword {

class LazyLoadDatabase {
 public:
  // Reads STEM.rdx and STEM.rdb. Errors name the file.
  static absl::StatusOr<LazyLoadDatabase> Open(const std::string& stem);

  // The value of a variable. NotFound lists the variables there are.
  absl::StatusOr<RValue> Load(absl::string_view variable) const;

 private:
  struct Block {
    std::string variable;
    int32_t offset;
    int32_t length;
  };

  LazyLoadDatabase(std::string path, std::string bytes,
                   std::vector<Block> blocks)
      : path_(std::move(path)),
        bytes_(std::move(bytes)),
        blocks_(std::move(blocks)) {}

  static absl::StatusOr<std::vector<Block>> ReadIndex(const std::string& path);
  absl::StatusOr<RValue> Load(const Block& block) const;

  std::string path_;
  std::string bytes_;
  std::vector<Block> blocks_;
};

}  // namespace nextword

#endif  // NEXTWORD_TOOLS_CORPUS_LAZY_LOAD_DATABASE_H_
