#include "configs/override.h"

#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "autograd/base/status.h"
#include "configs/field.h"
#include "google/protobuf/descriptor.h"

namespace nextword {
namespace {

using ::google::protobuf::FieldDescriptor;
using ::google::protobuf::Message;

// An existing field and the message that holds it.
struct Target {
  Message* message;
  const FieldDescriptor* field;
};

absl::Status Prefixed(absl::string_view path, const absl::Status& status) {
  if (status.ok()) return status;
  return absl::InvalidArgumentError(absl::StrCat(path, ": ", status.message()));
}

absl::StatusOr<Target> FindTarget(absl::string_view path, Message* root) {
  Target target = {root, nullptr};
  std::string walked;
  for (absl::string_view name : absl::StrSplit(path, '.')) {
    if (target.field != nullptr) {
      if (!IsMessage(*target.field) || target.field->is_repeated()) {
        return Prefixed(walked, absl::InvalidArgumentError(absl::StrCat(
                                    "has no fields, so no field ", name)));
      }
      target.message = target.message->GetReflection()->MutableMessage(
          target.message, target.field);
    }
    walked = JoinPath(walked, name);
    const auto field = FindField(*target.message->GetDescriptor(), name,
                                 *root->GetDescriptor());
    NW_RETURN_IF_ERROR(Prefixed(walked, field.status()));
    target.field = *field;
  }
  return target;
}

// Sets one value, or adds it to a list. Text needs no quotes on a command line.
absl::Status SetValue(const Target& target, absl::string_view value) {
  const bool is_string =
      target.field->cpp_type() == FieldDescriptor::CPPTYPE_STRING;
  if (is_string && !absl::StartsWith(value, "\"")) {
    SetStringField(*target.field, std::string(value), target.message);
    return absl::OkStatus();
  }
  return SetField(*target.field, std::string(value), target.message);
}

absl::Status SetAll(const Target& target, absl::string_view value) {
  const bool is_list = target.field->is_repeated() &&
                       absl::StartsWith(value, "[") &&
                       absl::EndsWith(value, "]");
  if (!target.field->is_repeated()) return SetValue(target, value);
  target.message->GetReflection()->ClearField(target.message, target.field);
  if (!is_list) return SetValue(target, value);
  const absl::string_view list =
      absl::StripAsciiWhitespace(value.substr(1, value.size() - 2));
  if (list.empty()) return absl::OkStatus();
  for (absl::string_view item : absl::StrSplit(list, ',')) {
    NW_RETURN_IF_ERROR(SetValue(target, absl::StripAsciiWhitespace(item)));
  }
  return absl::OkStatus();
}

absl::Status Apply(const std::string& assignment, Message* message) {
  const size_t equals = assignment.find('=');
  if (equals == std::string::npos) {
    return absl::InvalidArgumentError("wanted PATH=VALUE, seen no '='");
  }
  const absl::string_view whole = assignment;
  const absl::string_view path =
      absl::StripAsciiWhitespace(whole.substr(0, equals));
  NW_ASSIGN_OR_RETURN(const Target target, FindTarget(path, message));
  return Prefixed(
      path,
      SetAll(target, absl::StripAsciiWhitespace(whole.substr(equals + 1))));
}

}  // namespace

void ApplyOverride(const std::string& assignment, Message* message,
                   ConfigErrors* errors) {
  const absl::Status status = Apply(assignment, message);
  if (!status.ok()) {
    errors->Add(absl::StrCat("--set ", assignment), status.message());
  }
}

}  // namespace nextword
