// The variables of a process.
#ifndef NEXTWORD_DISTRIBUTED_LAUNCHER_ENVIRONMENT_H_
#define NEXTWORD_DISTRIBUTED_LAUNCHER_ENVIRONMENT_H_

#include <map>
#include <string>
#include <vector>

namespace nextword {

// Name: value.
using EnvironmentMap = std::map<std::string, std::string>;

// This process's. Not while another thread changes them.
EnvironmentMap CurrentEnvironment();

// "NAME=VALUE" of each, as a new process takes them.
std::vector<std::string> VariableList(const EnvironmentMap& environment);

// The value of `name`; empty when there is none.
std::string ValueOf(const EnvironmentMap& environment, const std::string& name);

}  // namespace nextword

#endif  // NEXTWORD_DISTRIBUTED_LAUNCHER_ENVIRONMENT_H_
