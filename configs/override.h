// `--set a.b=value`: one field of a message set from the command line.
// Thread-safe on different messages.
#ifndef NEXTWORD_CONFIGS_OVERRIDE_H_
#define NEXTWORD_CONFIGS_OVERRIDE_H_

#include <string>

#include "configs/config_errors.h"
#include "google/protobuf/message.h"

namespace nextword {

// Applies "path=value" to `message`:
//   model.layers=6            a number, true or false, or an enum's name
//   run_dir=runs/a b          text, with or without quotes
//   data.source=a.txt         makes a list of one
//   data.source=[a.txt,b.txt] replaces all of a repeated field; [] empties it
// Errors are added under "--set PATH=VALUE".
void ApplyOverride(const std::string& assignment,
                   google::protobuf::Message* message, ConfigErrors* errors);

}  // namespace nextword

#endif  // NEXTWORD_CONFIGS_OVERRIDE_H_
