// Reads a text proto and reports every error in it, not just the first.
//
// protobuf's own parser gives up at the first error. Here protobuf's tokenizer
// and its conversion of single values are used, and the structure (names,
// braces, lists) is walked by ourselves, so that reading goes on after an
// unknown field or a wrong value. Thread-safe on different messages.
#ifndef NEXTWORD_CONFIGS_TEXT_PROTO_H_
#define NEXTWORD_CONFIGS_TEXT_PROTO_H_

#include <string>

#include "configs/config_errors.h"
#include "google/protobuf/message.h"

namespace nextword {

// Reads `text` into `message`, which must be empty. Errors are added as
// "FILE:LINE:COLUMN: PATH: what is wrong", with the nearest valid name for an
// unknown one. A slip of syntax (a missing brace) ends the reading.
void ReadTextProto(const std::string& file, const std::string& text,
                   google::protobuf::Message* message, ConfigErrors* errors);

}  // namespace nextword

#endif  // NEXTWORD_CONFIGS_TEXT_PROTO_H_
