#include "configs/text_proto.h"

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "configs/field.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/io/tokenizer.h"
#include "google/protobuf/io/zero_copy_stream_impl_lite.h"

namespace nextword {
namespace {

using ::google::protobuf::FieldDescriptor;
using ::google::protobuf::Message;
using ::google::protobuf::io::ColumnNumber;
using ::google::protobuf::io::Tokenizer;

// Member functions that return bool return false after a slip of syntax, when
// no more can be read; other errors are reported and reading goes on.
class Reader : private google::protobuf::io::ErrorCollector {
 public:
  Reader(const std::string& file, const std::string& text, Message* message,
         ConfigErrors* errors)
      : file_(file),
        message_(message),
        errors_(errors),
        stream_(text.data(), static_cast<int>(text.size())),
        tokenizer_(&stream_, this) {
    tokenizer_.set_comment_style(Tokenizer::SH_COMMENT_STYLE);
    tokenizer_.set_allow_f_after_float(true);
    tokenizer_.Next();
  }

  void Read() { ReadFields(message_, "", ""); }

 private:
  // Fields up to the symbol `close`; "" stands for the end of the file.
  bool ReadFields(Message* message, const std::string& path,
                  absl::string_view close) {
    while (true) {
      if (close.empty() ? At(Tokenizer::TYPE_END) : Take(close)) return true;
      if (!ReadField(message, path)) return false;
      if (!Take(";")) Take(",");
    }
  }

  bool ReadField(Message* message, const std::string& parent) {
    if (!At(Tokenizer::TYPE_IDENTIFIER)) return SyntaxError("a field's name");
    const Tokenizer::Token name = tokenizer_.current();
    tokenizer_.Next();
    const std::string path = JoinPath(parent, name.text);
    const auto field = FindField(*message->GetDescriptor(), name.text,
                                 *message_->GetDescriptor());
    const bool colon = Take(":");
    if (!field.ok()) {
      AddError(name, path, field.status().message());
      return SkipValue();
    }
    if (!colon && !AtBrace()) return SyntaxError("':' after the field's name");
    if (!(*field)->is_repeated() &&
        message->GetReflection()->HasField(*message, *field)) {
      AddError(name, path, "is given twice");
      return SkipValue();
    }
    if ((*field)->is_repeated() && Take("[")) {
      return ReadList(message, **field, path);
    }
    return ReadValue(message, **field, path);
  }

  // The rest of "[value, value]".
  bool ReadList(Message* message, const FieldDescriptor& field,
                const std::string& path) {
    if (Take("]")) return true;
    while (true) {
      if (!ReadValue(message, field, path)) return false;
      if (Take("]")) return true;
      if (!Take(",")) return SyntaxError("',' or ']' in a list");
    }
  }

  bool ReadValue(Message* message, const FieldDescriptor& field,
                 const std::string& path) {
    const Tokenizer::Token start = tokenizer_.current();
    if (AtBrace() && IsMessage(field)) {
      const auto& reflection = *message->GetReflection();
      tokenizer_.Next();
      return ReadFields(field.is_repeated()
                            ? reflection.AddMessage(message, &field)
                            : reflection.MutableMessage(message, &field),
                        path, start.text == "{" ? "}" : ">");
    }
    if (AtBrace() || At("[")) {
      AddError(start, path,
               absl::StrCat("is ", start.text, " ..., wanted one value"));
      return SkipValue();
    }
    std::string text;
    if (!ReadScalar(&text)) return false;
    const absl::Status status = SetField(field, text, message);
    if (!status.ok()) AddError(start, path, status.message());
    return true;
  }

  // A number, a name, or strings that stand one after the other.
  bool ReadScalar(std::string* text) {
    if (At(Tokenizer::TYPE_STRING)) {
      for (; At(Tokenizer::TYPE_STRING); tokenizer_.Next()) {
        absl::StrAppend(text, tokenizer_.current().text, " ");
      }
      text->pop_back();
      return true;
    }
    if (Take("-")) text->push_back('-');
    if (At(Tokenizer::TYPE_SYMBOL) || At(Tokenizer::TYPE_END)) {
      return SyntaxError("a value");
    }
    text->append(tokenizer_.current().text);
    tokenizer_.Next();
    return true;
  }

  // Passes over a value of any kind: a scalar, or all within its brackets.
  bool SkipValue() {
    std::string text;
    if (!AtBrace() && !At("[")) return ReadScalar(&text);
    int depth = 0;
    do {
      if (At(Tokenizer::TYPE_END)) return SyntaxError("a closing bracket");
      if (AtBrace() || At("[")) ++depth;
      if (At("}") || At(">") || At("]")) --depth;
      tokenizer_.Next();
    } while (depth > 0);
    return true;
  }

  bool At(Tokenizer::TokenType type) {
    return tokenizer_.current().type == type;
  }
  bool At(absl::string_view symbol) {
    return At(Tokenizer::TYPE_SYMBOL) && tokenizer_.current().text == symbol;
  }
  bool AtBrace() { return At("{") || At("<"); }
  bool Take(absl::string_view symbol) {
    if (!At(symbol)) return false;
    tokenizer_.Next();
    return true;
  }

  bool SyntaxError(absl::string_view wanted) {
    const Tokenizer::Token& seen = tokenizer_.current();
    errors_->Add(Place(seen.line, seen.column),
                 absl::StrCat("wanted ", wanted, ", seen ",
                              At(Tokenizer::TYPE_END) ? "the end of the file"
                                                      : seen.text.c_str()));
    return false;
  }
  void AddError(const Tokenizer::Token& at, const std::string& path,
                absl::string_view what) {
    errors_->Add(absl::StrCat(Place(at.line, at.column), ": ", path), what);
  }
  // What the tokenizer itself rejects, such as a string that does not end.
  void AddError(int line, ColumnNumber column, const std::string& what) final {
    errors_->Add(Place(line, column), what);
  }
  // Tokens count lines and columns from 0, editors from 1.
  std::string Place(int line, int column) {
    return absl::StrCat(file_, ":", line + 1, ":", column + 1);
  }

  const std::string& file_;
  Message* const message_;
  ConfigErrors* const errors_;
  google::protobuf::io::ArrayInputStream stream_;
  Tokenizer tokenizer_;
};

}  // namespace

void ReadTextProto(const std::string& file, const std::string& text,
                   Message* message, ConfigErrors* errors) {
  Reader(file, text, message, errors).Read();
}

}  // namespace nextword
