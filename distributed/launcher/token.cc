#include "distributed/launcher/token.h"

#include <sys/random.h>

#include <cerrno>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "autograd/base/check.h"
#include "autograd/base/file.h"
#include "autograd/base/status.h"

namespace nextword {
namespace {

constexpr size_t kMaxTokenBytes = 1024;

// `source` says where the token comes from.
absl::StatusOr<std::string> Checked(std::string token,
                                    absl::string_view source) {
  if (token.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat(source, ": is empty, wanted the job's token"));
  }
  if (token.size() > kMaxTokenBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat(source, ": has ", token.size(), " bytes, wanted at most ",
                     kMaxTokenBytes));
  }
  for (const char c : token) {
    if (absl::ascii_isgraph(c)) continue;
    return absl::InvalidArgumentError(absl::StrCat(
        source,
        ": has a character that is no visible ASCII character; wanted "
        "one word, for instance of `openssl rand -hex 16`"));
  }
  return token;
}

}  // namespace

absl::StatusOr<std::string> RandomHex(int bits) {
  NW_CHECK(bits > 0 && bits % 8 == 0) << bits;
  std::string bytes(bits / 8, '\0');
  size_t got = 0;
  while (got < bytes.size()) {
    const ssize_t n = getrandom(&bytes[got], bytes.size() - got, 0);
    if (n < 0 && errno != EINTR) {
      return FileError("the system's random numbers", "read");
    }
    if (n > 0) got += n;
  }
  return absl::BytesToHexString(bytes);
}

absl::StatusOr<std::string> JobToken(const std::string& token_file,
                                     const EnvironmentMap& environment) {
  if (!token_file.empty()) {
    NW_ASSIGN_OR_RETURN(const std::string text, ReadFile(token_file));
    return Checked(std::string(absl::StripTrailingAsciiWhitespace(text)),
                   token_file);
  }
  const auto variable = environment.find("NEXTWORD_TOKEN");
  if (variable == environment.end()) return RandomHex(128);
  return Checked(variable->second, "the variable NEXTWORD_TOKEN");
}

}  // namespace nextword
