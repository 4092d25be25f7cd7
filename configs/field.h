// One field of a message: found by name, set from text. What the reader of
// text protos and the overrides of the command line share.
// Functions of a message; thread-safe on different messages.
#ifndef NEXTWORD_CONFIGS_FIELD_H_
#define NEXTWORD_CONFIGS_FIELD_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "google/protobuf/message.h"

namespace nextword {

// The field `name` of `message`. An error says that it is unknown and suggests
// the nearest name, or the path of a field of that name elsewhere in `root`.
absl::StatusOr<const google::protobuf::FieldDescriptor*> FindField(
    const google::protobuf::Descriptor& message, absl::string_view name,
    const google::protobuf::Descriptor& root);

bool IsMessage(const google::protobuf::FieldDescriptor& field);

// Sets the scalar `field`, or appends to it when repeated. `text` is a value
// as a text proto writes it: 6, -1e-3, true, COSINE, "a string". An error tells
// the value seen and what the field takes, without the field's path.
absl::Status SetField(const google::protobuf::FieldDescriptor& field,
                      const std::string& text,
                      google::protobuf::Message* message);

// The same for a string field and the string itself, neither quoted nor
// escaped.
void SetStringField(const google::protobuf::FieldDescriptor& field,
                    const std::string& value,
                    google::protobuf::Message* message);

// "a.b" from "a" and "b"; "b" when the parent is the root.
std::string JoinPath(absl::string_view parent, absl::string_view name);

}  // namespace nextword

#endif  // NEXTWORD_CONFIGS_FIELD_H_
