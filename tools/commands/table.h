// Rows of text in columns: the first one flush left, the others flush right.
#ifndef NEXTWORD_TOOLS_COMMANDS_TABLE_H_
#define NEXTWORD_TOOLS_COMMANDS_TABLE_H_

#include <string>
#include <utility>
#include <vector>

namespace nextword {

class Table {
 public:
  explicit Table(std::vector<std::string> heads) : rows_{std::move(heads)} {}

  // As many cells as the table has columns.
  void Add(std::vector<std::string> cells) {
    rows_.push_back(std::move(cells));
  }

  // Two spaces between columns, a line feed after each row.
  std::string Text() const;

 private:
  std::vector<std::vector<std::string>> rows_;
};

}  // namespace nextword

#endif  // NEXTWORD_TOOLS_COMMANDS_TABLE_H_
