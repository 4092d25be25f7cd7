// What ranks tell their coordinator of their configs, so that those that differ
// are refused by the field. Thread-safe.
#ifndef NEXTWORD_DISTRIBUTED_CONFIG_FACTS_H_
#define NEXTWORD_DISTRIBUTED_CONFIG_FACTS_H_

#include <map>
#include <string>

#include "configs/train_config.pb.h"

namespace nextword {

// A fact per field of `config`, whether it was written or has its default:
// "config field model.layers" -> "12". Long values are told by their hash.
// Without the fields that may differ between machines (threads).
std::map<std::string, std::string> ConfigFacts(const TrainConfig& config);

}  // namespace nextword

#endif  // NEXTWORD_DISTRIBUTED_CONFIG_FACTS_H_
