#include "distributed/versions.h"

#include <algorithm>
#include <fstream>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "autograd/cuda/dynamic_library.h"
#include "autograd/tensor/device.h"
#include "dnnl.h"
#include "google/protobuf/stubs/common.h"
#include "hwy/targets.h"

namespace nextword {
namespace {

std::string ProcessorName() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    if (absl::StartsWith(line, "model name")) {
      return line.substr(std::min(line.size(), line.find(": ") + 2));
    }
  }
  return "unknown";
}

std::string VectorTarget() {
  const int64_t targets = hwy::SupportedTargets();
  return hwy::TargetName(targets & -targets);  // The lowest bit is the best.
}

}  // namespace

std::map<std::string, std::string> Versions() {
  const dnnl_version_t* const dnnl = dnnl_version();
  std::map<std::string, std::string> versions = {
      {"nextword", kNextwordVersion},
      {"compiler", __VERSION__},
      {"onednn", absl::StrCat(dnnl->major, ".", dnnl->minor, ".", dnnl->patch)},
      {"protobuf",
       google::protobuf::internal::VersionString(GOOGLE_PROTOBUF_VERSION)},
      {"processor", ProcessorName()},
      {"vector_code", VectorTarget()},
  };
  for (int i = 0; i < DeviceCount(DeviceType::kCuda); ++i) {
    versions[absl::StrCat("cuda:", i)] = DescribeDevice(DeviceType::kCuda, i);
  }
  versions.merge(LibraryVersions());
  return versions;
}

}  // namespace nextword
