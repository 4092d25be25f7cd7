// A rank for tests to kill: joins a job, says what it does, and waits to be
// told of the job's end, which it prints; then exits with code 75.
//   rendezvous_rank ADDRESS RANK WORLD_SIZE PHASE DETAIL STEP
#include <unistd.h>

#include <cstdio>
#include <cstdlib>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "distributed/rendezvous/activity.h"
#include "distributed/rendezvous/rendezvous_client.h"

int main(int argc, char** argv) {
  if (argc != 7) return 2;
  nextword::RendezvousClient::Options options;
  options.address = argv[1];
  options.rank = std::atoi(argv[2]);
  options.world_size = std::atoi(argv[3]);
  options.run_id = "run";
  options.token = "secret";
  options.host = "node-b";
  options.heartbeat_interval = absl::Milliseconds(50);
  options.on_abort = [](const std::string& sentence) {
    std::fprintf(stderr, "%s\n", sentence.c_str());
    _exit(75);
  };
  const nextword::ActivityScope activity(argv[4], argv[5]);
  nextword::SetActivityStep(std::atoi(argv[6]));
  const auto client = nextword::RendezvousClient::Join(options);
  if (!client.ok()) {
    std::fprintf(stderr, "%s\n", client.status().ToString().c_str());
    return 1;
  }
  // By then heartbeats have told what the ranks do.
  absl::SleepFor(4 * options.heartbeat_interval);
  if (!(*client)->Put("here", "").ok()) return 1;
  while (true) absl::SleepFor(absl::Hours(1));
}
