// Prints docs/config_reference.md: the options, from the schema's comments.
//
//   config_reference DESCRIPTORS > config_reference.md
//
// DESCRIPTORS is what `protoc --include_source_info --descriptor_set_out`
// writes: the descriptors compiled into a program have no comments.
#include <iostream>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/string_view.h"
#include "autograd/base/file.h"
#include "autograd/base/status.h"
#include "configs/field.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/descriptor.pb.h"

namespace nextword {
namespace {

using ::google::protobuf::Descriptor;
using ::google::protobuf::DescriptorPool;
using ::google::protobuf::EnumDescriptor;
using ::google::protobuf::FieldDescriptor;
using ::google::protobuf::SourceLocation;

constexpr char kRoot[] = "nextword.TrainConfig";

constexpr char kIntroduction[] =
    R"(<!-- Generated from configs/train_config.proto. To change it, edit the
comments there, then:
bazel build //configs:config_reference_md
cp bazel-bin/configs/config_reference.md docs/ -->

# Config reference

A config is a text proto: `steps: 1000 model { layers: 6 }`. Every field has a
default, so a config names only what it changes; `#` starts a comment. Any
field can be overridden on the command line by its path, as in
`--set model.layers=6` or `--set data.source=[a.txt,b.txt]`. A field that may be
repeated is marked *list*.

)";

// The comment of a descriptor on one line.
template <typename T>
std::string Comment(const T& descriptor) {
  SourceLocation location;
  if (!descriptor.GetSourceLocation(&location)) return "";
  std::string comment =
      absl::StrCat(location.leading_comments, location.trailing_comments);
  absl::RemoveExtraAsciiWhitespace(&comment);
  return comment;
}

template <typename T>
void PrintHeading(absl::string_view heading, const T& descriptor) {
  std::cout << heading << "\n\n";
  const std::string comment = Comment(descriptor);
  if (!comment.empty()) std::cout << comment << "\n\n";
}

// A '|' would end the cell of a table.
std::string Cell(const std::string& text) {
  return absl::StrReplaceAll(text, {{"|", "\\|"}});
}

std::string Anchor(const EnumDescriptor& type) {
  return absl::StrCat("[", type.name(), "](#",
                      absl::AsciiStrToLower(type.name()), ")");
}

std::string Type(const FieldDescriptor& field) {
  const std::string type = field.enum_type() != nullptr
                               ? Anchor(*field.enum_type())
                           : field.cpp_type() == FieldDescriptor::CPPTYPE_STRING
                               ? "text"
                               : field.cpp_type_name();
  return field.is_repeated() ? absl::StrCat("*list* of ", type) : type;
}

std::string Default(const FieldDescriptor& field) {
  if (!field.has_default_value()) return "";
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_BOOL:
      return field.default_value_bool() ? "`true`" : "`false`";
    case FieldDescriptor::CPPTYPE_ENUM:
      return absl::StrCat("`", field.default_value_enum()->name(), "`");
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return absl::StrCat("`", field.default_value_double(), "`");
    case FieldDescriptor::CPPTYPE_INT32:
      return absl::StrCat("`", field.default_value_int32(), "`");
    case FieldDescriptor::CPPTYPE_INT64:
      return absl::StrCat("`", field.default_value_int64(), "`");
    case FieldDescriptor::CPPTYPE_UINT64:
      return absl::StrCat("`", field.default_value_uint64(), "`");
    default:
      return absl::StrCat("`\"", field.default_value_string(), "\"`");
  }
}

// The message's own fields as a table, then one section per message in it.
void PrintMessage(const Descriptor& message, const std::string& path) {
  PrintHeading(path.empty() ? "## The run" : absl::StrCat("## `", path, "`"),
               message);
  std::cout
      << "| field | type | default | meaning |\n| --- | --- | --- | --- |\n";
  for (int i = 0; i < message.field_count(); ++i) {
    const FieldDescriptor& field = *message.field(i);
    if (IsMessage(field)) continue;
    std::cout << "| `" << JoinPath(path, field.name()) << "` | " << Type(field)
              << " | " << Default(field) << " | " << Cell(Comment(field))
              << " |\n";
  }
  std::cout << "\n";
  for (int i = 0; i < message.field_count(); ++i) {
    const FieldDescriptor& field = *message.field(i);
    if (IsMessage(field)) {
      PrintMessage(*field.message_type(), JoinPath(path, field.name()));
    }
  }
}

void PrintEnum(const EnumDescriptor& type) {
  PrintHeading(absl::StrCat("### ", type.name()), type);
  std::cout << "| value | meaning |\n| --- | --- |\n";
  for (int i = 0; i < type.value_count(); ++i) {
    std::string names = absl::StrCat("`", type.value(i)->name(), "`");
    if (type.value(i) != type.FindValueByNumber(type.value(i)->number())) {
      absl::StrAppend(&names, ": ",
                      type.FindValueByNumber(type.value(i)->number())->name());
    }
    std::cout << "| " << names << " | " << Cell(Comment(*type.value(i)))
              << " |\n";
  }
  std::cout << "\n";
}

absl::Status Print(const std::string& path) {
  NW_ASSIGN_OR_RETURN(const std::string bytes, ReadFile(path));
  google::protobuf::FileDescriptorSet files;
  if (!files.ParseFromString(bytes)) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": is not a set of descriptors"));
  }
  DescriptorPool pool;
  for (const auto& file : files.file()) pool.BuildFile(file);
  const Descriptor* root = pool.FindMessageTypeByName(kRoot);
  if (root == nullptr) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": has no message ", kRoot));
  }
  std::cout << kIntroduction;
  PrintMessage(*root, "");
  std::cout << "## Names of values\n\n";
  for (int i = 0; i < root->file()->enum_type_count(); ++i) {
    PrintEnum(*root->file()->enum_type(i));
  }
  for (int i = 0; i < root->file()->message_type_count(); ++i) {
    const Descriptor& message = *root->file()->message_type(i);
    for (int j = 0; j < message.enum_type_count(); ++j) {
      PrintEnum(*message.enum_type(j));
    }
  }
  return absl::OkStatus();
}

}  // namespace
}  // namespace nextword

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: config_reference DESCRIPTORS\n";
    return 1;
  }
  const absl::Status status = nextword::Print(argv[1]);
  if (!status.ok()) std::cerr << status.message() << "\n";
  return status.ok() ? 0 : 1;
}
