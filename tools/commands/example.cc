#include "tools/commands/example.h"

#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"

namespace nextword {
namespace {

class ExampleFormatter : public CLI::Formatter {
 public:
  explicit ExampleFormatter(std::string example)
      : example_(std::move(example)) {}

  std::string make_help(const CLI::App* app, std::string name,
                        CLI::AppFormatMode mode) const override {
    return absl::StrCat("Example:\n  ",
                        absl::StrReplaceAll(example_, {{"\n", "\n  "}}), "\n\n",
                        CLI::Formatter::make_help(app, std::move(name), mode));
  }

 private:
  std::string example_;
};

}  // namespace

void ShowExample(CLI::App& command, const std::string& example) {
  command.formatter(std::make_shared<ExampleFormatter>(example));
}

}  // namespace nextword
