#include "configs/field.h"

#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "configs/nearest_name.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/io/tokenizer.h"
#include "google/protobuf/text_format.h"

namespace nextword {
namespace {

using ::google::protobuf::Descriptor;
using ::google::protobuf::EnumDescriptor;
using ::google::protobuf::FieldDescriptor;
using ::google::protobuf::Message;

// Keeps the parser from printing: we word the error ourselves.
class SilentErrors : public google::protobuf::io::ErrorCollector {
 public:
  void AddError(int, google::protobuf::io::ColumnNumber,
                const std::string&) override {}
};

std::vector<std::string> FieldNames(const Descriptor& message) {
  std::vector<std::string> names;
  for (int i = 0; i < message.field_count(); ++i) {
    names.push_back(message.field(i)->name());
  }
  return names;
}

std::vector<std::string> ValueNames(const EnumDescriptor& type) {
  std::vector<std::string> names;
  for (int i = 0; i < type.value_count(); ++i) {
    // Of several names of a value, the first.
    const auto* const value = type.value(i);
    if (value == type.FindValueByNumber(value->number())) {
      names.push_back(value->name());
    }
  }
  return names;
}

// Path of the first field of that name below `message`, or "". Schemas here
// are trees, so the recursion ends.
std::string PathOf(const Descriptor& message, absl::string_view name,
                   absl::string_view parent) {
  for (int i = 0; i < message.field_count(); ++i) {
    const FieldDescriptor& field = *message.field(i);
    const std::string path = JoinPath(parent, field.name());
    if (field.name() == name) return path;
    if (!IsMessage(field)) continue;
    const std::string below = PathOf(*field.message_type(), name, path);
    if (!below.empty()) return below;
  }
  return "";
}

std::string Wanted(const FieldDescriptor& field) {
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_INT32:
      return "an integer from -2147483648 to 2147483647";
    case FieldDescriptor::CPPTYPE_INT64:
      return "an integer of 64 bits";
    case FieldDescriptor::CPPTYPE_UINT32:
      return "an integer from 0 to 4294967295";
    case FieldDescriptor::CPPTYPE_UINT64:
      return "an integer from 0 to 18446744073709551615";
    case FieldDescriptor::CPPTYPE_DOUBLE:
    case FieldDescriptor::CPPTYPE_FLOAT:
      return "a number";
    case FieldDescriptor::CPPTYPE_BOOL:
      return "true or false";
    case FieldDescriptor::CPPTYPE_ENUM:
      return absl::StrCat("one of ",
                          absl::StrJoin(ValueNames(*field.enum_type()), ", "));
    case FieldDescriptor::CPPTYPE_STRING:
      return "text in quotes";
    case FieldDescriptor::CPPTYPE_MESSAGE:
      return absl::StrCat("fields in braces: ", field.name(), " { ... }");
  }
  return "another type";
}

}  // namespace

std::string JoinPath(absl::string_view parent, absl::string_view name) {
  return parent.empty() ? std::string(name) : absl::StrCat(parent, ".", name);
}

bool IsMessage(const FieldDescriptor& field) {
  return field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE;
}

absl::StatusOr<const FieldDescriptor*> FindField(const Descriptor& message,
                                                 absl::string_view name,
                                                 const Descriptor& root) {
  const FieldDescriptor* field = message.FindFieldByName(std::string(name));
  if (field != nullptr) return field;
  std::string hint = NearestName(name, FieldNames(message));
  if (hint.empty()) hint = PathOf(root, name, "");
  return absl::InvalidArgumentError(absl::StrCat(
      "unknown field; ", hint.empty()
                             ? DidYouMean(name, FieldNames(message))
                             : absl::StrCat("did you mean ", hint, "?")));
}

absl::Status SetField(const FieldDescriptor& field, const std::string& text,
                      Message* message) {
  SilentErrors errors;
  google::protobuf::TextFormat::Parser parser;
  parser.RecordErrorsTo(&errors);
  if (!IsMessage(field) &&
      parser.ParseFieldValueFromString(text, &field, message)) {
    return absl::OkStatus();
  }
  std::string error = absl::StrCat("is ", text, ", wanted ", Wanted(field));
  if (field.cpp_type() == FieldDescriptor::CPPTYPE_ENUM) {
    const std::string near = NearestName(text, ValueNames(*field.enum_type()));
    if (!near.empty()) absl::StrAppend(&error, "; did you mean ", near, "?");
  }
  return absl::InvalidArgumentError(error);
}

void SetStringField(const FieldDescriptor& field, const std::string& value,
                    Message* message) {
  const google::protobuf::Reflection& reflection = *message->GetReflection();
  if (field.is_repeated()) {
    reflection.AddString(message, &field, value);
  } else {
    reflection.SetString(message, &field, value);
  }
}

}  // namespace nextword
