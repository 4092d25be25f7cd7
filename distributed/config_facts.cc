#include "distributed/config_facts.h"

#include <cstddef>

#include "absl/strings/str_cat.h"
#include "autograd/base/hash.h"
#include "google/protobuf/text_format.h"

namespace nextword {
namespace {

using ::google::protobuf::Descriptor;
using ::google::protobuf::FieldDescriptor;
using ::google::protobuf::Message;
using ::google::protobuf::TextFormat;

// Little enough for the coordinator, and as much as anybody reads.
constexpr size_t kMaxValueBytes = 256;

std::string ValueOf(const Message& message, const FieldDescriptor* field) {
  std::string value;
  if (!field->is_repeated()) {
    TextFormat::PrintFieldValueToString(message, field, -1, &value);
  } else {
    const int count = message.GetReflection()->FieldSize(message, field);
    for (int i = 0; i < count; ++i) {
      std::string element;
      TextFormat::PrintFieldValueToString(message, field, i, &element);
      absl::StrAppend(&value, i == 0 ? "" : " ", element);
    }
  }
  if (value.size() <= kMaxValueBytes) return value;
  return absl::StrCat("a text with hash ", HexDigits(Hash64(value)));
}

void AddFields(const Message& message, const std::string& path,
               std::map<std::string, std::string>* values) {
  const Descriptor& type = *message.GetDescriptor();
  for (int i = 0; i < type.field_count(); ++i) {
    const FieldDescriptor* const field = type.field(i);
    const std::string name = absl::StrCat(path, field->name());
    if (field->type() == FieldDescriptor::TYPE_MESSAGE) {
      AddFields(message.GetReflection()->GetMessage(message, field), name + ".",
                values);
    } else {
      (*values)[name] = ValueOf(message, field);
    }
  }
}

}  // namespace

std::map<std::string, std::string> FieldValues(const Message& message) {
  std::map<std::string, std::string> values;
  AddFields(message, "", &values);
  return values;
}

std::map<std::string, std::string> ConfigFacts(const TrainConfig& config) {
  std::map<std::string, std::string> facts;
  for (const auto& [field, value] : FieldValues(config)) {
    if (field != "threads") facts["config field " + field] = value;
  }
  return facts;
}

}  // namespace nextword
