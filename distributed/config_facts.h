// Configs as fields and values, to be compared: between ranks, and between a
// checkpoint and the run that goes on from it. Thread-safe.
#ifndef NEXTWORD_DISTRIBUTED_CONFIG_FACTS_H_
#define NEXTWORD_DISTRIBUTED_CONFIG_FACTS_H_

#include <map>
#include <string>

#include "configs/train_config.pb.h"
#include "google/protobuf/message.h"

namespace nextword {

// Path -> value of each field of `message`, whether it was written or has its
// default: "model.layers" -> "12". Long values stand as their hash.
std::map<std::string, std::string> FieldValues(
    const google::protobuf::Message& message);

// What ranks tell their coordinator of their configs, so that those that differ
// are refused by the field: "config field model.layers" -> "12". Without the
// fields that may differ between machines (threads).
std::map<std::string, std::string> ConfigFacts(const TrainConfig& config);

}  // namespace nextword

#endif  // NEXTWORD_DISTRIBUTED_CONFIG_FACTS_H_
