// What this program and this machine are: all that bits may depend on besides
// config, corpus and seed.
#ifndef NEXTWORD_DISTRIBUTED_VERSIONS_H_
#define NEXTWORD_DISTRIBUTED_VERSIONS_H_

#include <map>
#include <string>

namespace nextword {

inline constexpr char kNextwordVersion[] = "0.1.0";

// Name -> version: nextword, compiler, libraries (those for GPUs once they are
// loaded), processor, vector code, GPUs.
std::map<std::string, std::string> Versions();

}  // namespace nextword

#endif  // NEXTWORD_DISTRIBUTED_VERSIONS_H_
