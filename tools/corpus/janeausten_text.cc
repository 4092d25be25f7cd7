// janeausten_text STEM FOLDER: writes the novels of R's package janeaustenr,
// whose data are STEM.rdb and STEM.rdx, as UTF-8 files into FOLDER.
#include <iostream>
#include <string>
#include <variant>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "autograd/base/file.h"
#include "autograd/base/status.h"
#include "tools/corpus/lazy_load_database.h"

namespace nextword {
namespace {

struct Novel {
  const char* variable;
  const char* file;
};

constexpr Novel kNovels[] = {
    {"sensesensibility", "sense_and_sensibility.txt"},
    {"prideprejudice", "pride_and_prejudice.txt"},
    {"mansfieldpark", "mansfield_park.txt"},
    {"emma", "emma.txt"},
    {"northangerabbey", "northanger_abbey.txt"},
    {"persuasion", "persuasion.txt"},
};

absl::Status WriteNovels(const std::string& stem, const std::string& folder) {
  NW_ASSIGN_OR_RETURN(const LazyLoadDatabase database,
                      LazyLoadDatabase::Open(stem));
  NW_RETURN_IF_ERROR(MakeDirectories(folder));
  for (const Novel& novel : kNovels) {
    NW_ASSIGN_OR_RETURN(const RValue value, database.Load(novel.variable));
    const auto* lines = std::get_if<RValue::Strings>(&value.data);
    if (lines == nullptr) {
      return absl::InvalidArgumentError(absl::StrCat(
          stem, ".rdb: ", novel.variable, " is not a vector of lines"));
    }
    NW_RETURN_IF_ERROR(
        WriteFileAtomically(absl::StrCat(folder, "/", novel.file),
                            absl::StrCat(absl::StrJoin(*lines, "\n"), "\n")));
  }
  return absl::OkStatus();
}

}  // namespace
}  // namespace nextword

int main(int argc, char** argv) {
  if (argc != 3) {
    std::cerr << "usage: janeausten_text STEM FOLDER\n";
    return 2;
  }
  const absl::Status status = nextword::WriteNovels(argv[1], argv[2]);
  if (!status.ok()) {
    std::cerr << "janeausten_text: " << status.message() << "\n";
    return 1;
  }
  return 0;
}
