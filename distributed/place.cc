#include "distributed/place.h"

#include <cstdlib>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "autograd/base/directory.h"
#include "autograd/base/status.h"

namespace nextword {
namespace {

constexpr int kMaxWorldSize = 4096;

absl::StatusOr<int> Number(const Environment& environment,
                           const std::string& name, int least, int most) {
  const std::optional<std::string> text = environment(name);
  if (!text.has_value()) {
    return absl::InvalidArgumentError(
        absl::StrCat("the environment has WORLD_SIZE, but no ", name));
  }
  int number;
  if (!absl::SimpleAtoi(*text, &number) || number < least || number > most) {
    return absl::InvalidArgumentError(
        absl::StrCat("the environment's ", name, " is '", *text,
                     "', wanted a number from ", least, " to ", most));
  }
  return number;
}

}  // namespace

std::optional<std::string> ProcessEnvironment(const std::string& name) {
  const char* const value = std::getenv(name.c_str());
  if (value == nullptr) return std::nullopt;
  return value;
}

absl::StatusOr<Place> PlaceFrom(const Environment& environment) {
  Place place;
  if (!environment("WORLD_SIZE").has_value()) return place;
  NW_ASSIGN_OR_RETURN(place.world_size,
                      Number(environment, "WORLD_SIZE", 1, kMaxWorldSize));
  if (place.world_size == 1) return place;
  const int last = place.world_size - 1;
  NW_ASSIGN_OR_RETURN(place.rank, Number(environment, "RANK", 0, last));
  NW_ASSIGN_OR_RETURN(place.local_rank,
                      Number(environment, "LOCAL_RANK", 0, last));
  NW_ASSIGN_OR_RETURN(
      place.local_world_size,
      Number(environment, "LOCAL_WORLD_SIZE", 1, place.world_size));
  place.run_id = environment("NEXTWORD_RUN_ID").value_or("default");
  place.token = environment("NEXTWORD_TOKEN").value_or("");
  place.tls_ca_file = environment("NEXTWORD_TLS_CA").value_or("");
  if (place.token.empty()) {
    return absl::InvalidArgumentError(
        "the environment has WORLD_SIZE, but no NEXTWORD_TOKEN: a secret that "
        "the ranks of a job share, any text that others cannot guess");
  }
  if (const auto address = environment("NEXTWORD_COORDINATOR")) {
    place.coordinator = *address;
    return place;
  }
  NW_ASSIGN_OR_RETURN(const int port,
                      Number(environment, "MASTER_PORT", 1, 65535));
  const std::string host = environment("MASTER_ADDR").value_or("");
  if (host.empty()) {
    return absl::InvalidArgumentError(
        "the environment has WORLD_SIZE, but neither NEXTWORD_COORDINATOR nor "
        "MASTER_ADDR");
  }
  place.coordinator = absl::StrCat(host, ":", port);
  place.hosts_coordinator = place.rank == 0;
  return place;
}

std::map<std::string, std::string> GpuVariables(
    const Place& place, const std::vector<std::string>& gpus) {
  const int count = static_cast<int>(gpus.size());
  if (count == 0 || place.local_world_size == 1) return {};
  std::map<std::string, std::string> variables = {
      {"CUDA_VISIBLE_DEVICES", gpus[place.local_rank % count]}};
  if (place.local_world_size > count) {
    variables["NCCL_HOSTID"] = absl::StrCat("rank-", place.rank);
  }
  return variables;
}

std::vector<std::string> VisibleGpus(const Environment& environment) {
  std::vector<std::string> gpus;
  if (const auto visible = environment("CUDA_VISIBLE_DEVICES")) {
    for (absl::string_view gpu :
         absl::StrSplit(*visible, ',', absl::SkipWhitespace())) {
      gpus.emplace_back(absl::StripAsciiWhitespace(gpu));
    }
    return gpus;
  }
  // CUDA numbers those that it sees, whatever their names.
  const auto names = ListDirectory("/dev");
  if (!names.ok()) return gpus;
  for (absl::string_view name : *names) {
    int number;
    if (absl::ConsumePrefix(&name, "nvidia") &&
        absl::SimpleAtoi(name, &number)) {
      gpus.push_back(absl::StrCat(gpus.size()));
    }
  }
  return gpus;
}

}  // namespace nextword
