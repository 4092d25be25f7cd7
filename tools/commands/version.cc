#include "tools/commands/version.h"

#include <cstdio>
#include <string>
#include <vector>

#include "autograd/base/parallel.h"
#include "autograd/tensor/device.h"
#include "distributed/versions.h"
#include "tools/commands/example.h"

namespace nextword {

void AddVersionCommand(CLI::App& app, absl::Status* /*status*/) {
  CLI::App* command = app.add_subcommand(
      "version", "Say what this binary and this machine are.");
  ShowExample(*command, "nextword version");
  command->callback([] {
    const int gpus = DeviceCount(DeviceType::kCuda);
    // First, for it loads libraries that have versions.
    std::vector<absl::Status> usable;
    for (int i = 0; i < gpus; ++i) {
      usable.push_back(CheckDevice(DeviceType::kCuda, i));
    }
    for (const auto& [name, version] : Versions()) {
      std::printf("%-12s %s\n", name.c_str(), version.c_str());
    }
    std::printf("%-12s cpu, %d threads", "devices", NumThreads());
    for (int i = 0; i < gpus; ++i) {
      std::printf("; cuda:%d", i);
      if (usable[i].ok()) continue;
      std::printf(", of no use: %s", std::string(usable[i].message()).c_str());
    }
    if (gpus == 0) {
      std::printf(IsBuiltFor(DeviceType::kCuda) ? "; built for GPUs, none here"
                                                : "; built without GPUs");
    }
    std::printf("\n");
  });
}

}  // namespace nextword
