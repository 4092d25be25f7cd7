// Any bytes into the rendezvous: its rules, and its server.
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <random>
#include <string>

#include "absl/synchronization/notification.h"
#include "distributed/rendezvous/limits.h"
#include "distributed/rendezvous/rendezvous.pb.h"
#include "grpcpp/generic/generic_stub.h"
#include "grpcpp/grpcpp.h"
#include "gtest/gtest.h"
#include "tests/fuzz/rendezvous_fuzz.h"
#include "tests/testing_rendezvous.h"

namespace nextword::rendezvous {
namespace {

std::string RandomBytes(std::mt19937_64& random, size_t size) {
  std::string bytes(size, '\0');
  for (char& byte : bytes) byte = static_cast<char>(random());
  return bytes;
}

TEST(RendezvousFuzz, TheRulesHoldWhateverComes) {
  std::mt19937_64 random(20240501);
  FuzzCounts total;
  for (int input = 0; input < 3000; ++input) {
    const FuzzCounts counts =
        DriveRendezvous(RandomBytes(random, random() % 1000));
    total.operations += counts.operations;
    total.started += counts.started;
    total.ended += counts.ended;
    total.aborted += counts.aborted;
    total.refused += counts.refused;
    total.values += counts.values;
    total.missed += counts.missed;
  }
  // It gets everywhere.
  EXPECT_GT(total.operations, 20'000);
  EXPECT_GT(total.started, 1000);
  EXPECT_GT(total.ended, 100);
  EXPECT_GT(total.aborted, 1000);
  EXPECT_GT(total.refused, 1000);
  EXPECT_GT(total.values, 500);
  EXPECT_GT(total.missed, 1000);
}

TEST(RendezvousFuzz, ItsEntryForFuzzersTakesAnySize) {
  EXPECT_EQ(LLVMFuzzerTestOneInput(nullptr, 0), 0);
  std::mt19937_64 random(7);
  for (size_t size : {1, 2, 3, 100'000}) {
    const std::string bytes = RandomBytes(random, size);
    EXPECT_EQ(LLVMFuzzerTestOneInput(
                  reinterpret_cast<const uint8_t*>(bytes.data()), size),
              0);
  }
}

// Calls `method` with `bytes` for a message and the right token.
grpc::Status CallWithBytes(const std::shared_ptr<grpc::Channel>& channel,
                           const std::string& method,
                           const std::string& bytes) {
  grpc::ClientContext context;
  context.AddMetadata(kTokenKey, "secret");
  context.set_deadline(std::chrono::system_clock::now() +
                       std::chrono::milliseconds(500));
  const grpc::Slice slice(bytes);
  const grpc::ByteBuffer request(&slice, 1);
  grpc::ByteBuffer reply;
  grpc::Status status;
  absl::Notification done;
  grpc::GenericStub stub(channel);
  stub.UnaryCall(&context, "/nextword.rendezvous.Rendezvous/" + method,
                 grpc::StubOptions(), &request, &reply, [&](grpc::Status s) {
                   status = s;
                   done.Notify();
                 });
  done.WaitForNotification();
  return status;
}

TEST(RendezvousFuzz, TheServerSurvivesWhatItCannotRead) {
  const auto coordinator = StartCoordinator(1);
  const auto joined =
      RendezvousClient::Join(RankOptions(coordinator->address(), 0, 1));
  ASSERT_TRUE(joined.ok()) << joined.status();
  const auto channel = grpc::CreateChannel(coordinator->address(),
                                           grpc::InsecureChannelCredentials());
  std::mt19937_64 random(99);
  for (int i = 0; i < 60; ++i) {
    for (const std::string method : {"Join", "Heartbeat", "Put", "Get", "Leave",
                                     "Fail", "Report", "Nothing"}) {
      const std::string bytes = RandomBytes(random, random() % 64);
      EXPECT_FALSE(CallWithBytes(channel, method, bytes).ok()) << method;
    }
  }
  // Neither does one that is too large, or a rank that does not belong.
  EXPECT_EQ(
      CallWithBytes(channel, "Put", std::string(3 << 20, 'x')).error_code(),
      grpc::StatusCode::RESOURCE_EXHAUSTED);
  JoinRequest request;
  request.set_protocol(kProtocol);
  request.set_run_id("run");
  request.set_world_size(1);
  request.set_rank(-5);
  request.set_host("\xff\n");
  EXPECT_EQ(
      CallWithBytes(channel, "Join", request.SerializeAsString()).error_code(),
      grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_TRUE((*joined)->Put("k", "v").ok());
  EXPECT_TRUE((*joined)->Leave().ok());
  EXPECT_TRUE(coordinator->Wait().ok());
}

}  // namespace
}  // namespace nextword::rendezvous
