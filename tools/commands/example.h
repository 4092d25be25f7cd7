// Help that opens with an example.
#ifndef NEXTWORD_TOOLS_COMMANDS_EXAMPLE_H_
#define NEXTWORD_TOOLS_COMMANDS_EXAMPLE_H_

#include <string>

#include "CLI/CLI.hpp"

namespace nextword {

// Makes `command --help` start with "Example:" and the lines of `example`.
void ShowExample(CLI::App& command, const std::string& example);

}  // namespace nextword

#endif  // NEXTWORD_TOOLS_COMMANDS_EXAMPLE_H_
