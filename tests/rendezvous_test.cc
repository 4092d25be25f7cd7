// Ranks, launchers and their coordinator over real connections.
#include <sys/socket.h>
#include <unistd.h>

#include <memory>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "autograd/base/file.h"
#include "autograd/base/log.h"
#include "autograd/base/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "spdlog/sinks/ostream_sink.h"
#include "tests/testing_certificate.h"
#include "tests/testing_proxy.h"
#include "tests/testing_rendezvous.h"
#include "tests/testing_text.h"

namespace nextword {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

// What is logged while one lives.
class LogCapture {
 public:
  LogCapture()
      : before_(spdlog::default_logger()),
        sink_(std::make_shared<spdlog::sinks::ostream_sink_mt>(stream_, true)) {
    spdlog::set_default_logger(std::make_shared<spdlog::logger>("", sink_));
  }
  ~LogCapture() { spdlog::set_default_logger(before_); }
  std::string text() const { return stream_.str(); }

 private:
  std::shared_ptr<spdlog::logger> before_;
  std::ostringstream stream_;
  std::shared_ptr<spdlog::sinks::ostream_sink_mt> sink_;
};

TEST(Rendezvous, RanksMeetShareValuesAndLeaveAgainAndAgain) {
  const auto coordinator = StartCoordinator(3);
  const auto launcher =
      LauncherClient::Connect(LauncherOptions(coordinator->address()));
  ASSERT_TRUE(launcher.ok()) << launcher.status();
  for (int generation : {1, 2}) {
    std::vector<std::thread> threads;
    for (int rank : {0, 1, 2}) {
      threads.emplace_back([&, rank] {
        Heard heard;
        auto options = RankOptions(coordinator->address(), rank, 3);
        options.on_abort = heard.Listener();
        const Joined joined = RendezvousClient::Join(options);
        ASSERT_TRUE(joined.ok()) << joined.status();
        RendezvousClient& client = **joined;
        EXPECT_EQ(client.generation(), generation);
        const std::string mine = absl::StrCat("value ", rank, " ", generation);
        EXPECT_TRUE(client.Put(absl::StrCat("rank ", rank), mine).ok());
        const auto value =
            client.Get(absl::StrCat("rank ", (rank + 1) % 3), kPatience);
        EXPECT_EQ(value.value_or(""),
                  absl::StrCat("value ", (rank + 1) % 3, " ", generation));
        const auto none = client.Get("none", absl::Milliseconds(20));
        EXPECT_EQ(none.status().ToString(),
                  "DEADLINE_EXCEEDED: no rank has put 'none' within 0.02 s");
        EXPECT_TRUE(client.status().ok());
        EXPECT_TRUE(client.Leave().ok());
        EXPECT_FALSE(client.Put("k", "v").ok());
        EXPECT_EQ(heard.count(), 0u);
      });
    }
    for (std::thread& thread : threads) thread.join();
    EXPECT_TRUE(coordinator->Wait().ok());
  }
  EXPECT_TRUE(Eventually([&] { return (*launcher)->generation() == 2; }));
  coordinator->Stop();
  EXPECT_TRUE(absl::IsCancelled(coordinator->Wait()));
}

TEST(Rendezvous, RefusesAWrongTokenAndLogsWhereItCameFrom) {
  const LogCapture log;
  const auto coordinator = StartCoordinator(1);
  auto options = RankOptions(coordinator->address(), 0, 1);
  options.token = "guessed";
  EXPECT_EQ(RendezvousClient::Join(options).status().ToString(),
            "UNAUTHENTICATED: this is not the token of the coordinator's job");
  auto launcher_options = LauncherOptions(coordinator->address());
  launcher_options.token = "secre";
  EXPECT_TRUE(absl::IsUnauthenticated(
      LauncherClient::Connect(launcher_options).status()));
  options.token = "";
  EXPECT_TRUE(
      absl::IsInvalidArgument(RendezvousClient::Join(options).status()));
  coordinator->Stop();
  EXPECT_THAT(log.text(), HasSubstr("ipv4:127.0.0.1:"));
  EXPECT_THAT(log.text(), HasSubstr("sent a wrong token; refused"));
  EXPECT_THAT(log.text(),
              AllOf(Not(HasSubstr("guessed")), Not(HasSubstr("secre"))));
}

TEST(Rendezvous, RefusesASecondRankWithTheSameNumber) {
  const auto coordinator = StartCoordinator(2);
  const std::string address = coordinator->address();
  std::vector<Joined> joined =
      JoinTogether({RankOptions(address, 0, 2), RankOptions(address, 1, 2)});
  ASSERT_TRUE(joined[0].ok() && joined[1].ok());
  auto options = RankOptions(address, 1, 2);
  options.host = "node-c";
  const std::string pid = absl::StrCat(getpid());
  EXPECT_EQ(RendezvousClient::Join(options).status().ToString(),
            "ALREADY_EXISTS: rank 1 is already here: host node-1, pid " + pid +
                "; a second one at node-c, pid " + pid + " was refused");
  EXPECT_TRUE((*joined[0])->Leave().ok() && (*joined[1])->Leave().ok());
  EXPECT_TRUE(coordinator->Wait().ok());
}

TEST(Rendezvous, RefusesRanksOfAnotherJob) {
  const auto coordinator = StartCoordinator(2);
  auto options = RankOptions(coordinator->address(), 1, 2);
  options.run_id = "other";
  EXPECT_EQ(RendezvousClient::Join(options).status().ToString(),
            "INVALID_ARGUMENT: rank 1 at node-1 belongs to run 'other', and "
            "the coordinator to run 'run'");
  EXPECT_EQ(
      RendezvousClient::Join(RankOptions(coordinator->address(), 1, 4))
          .status()
          .ToString(),
      "INVALID_ARGUMENT: rank 1 at node-1 has a world of 4 ranks, and the "
      "coordinator one of 2");
  auto launcher_options = LauncherOptions(coordinator->address());
  launcher_options.run_id = "other";
  EXPECT_EQ(LauncherClient::Connect(launcher_options).status().ToString(),
            "INVALID_ARGUMENT: the launcher on node-b belongs to run 'other', "
            "and the coordinator to run 'run'");
}

TEST(Rendezvous, RanksThatDifferInAFactAllHearOfIt) {
  const auto coordinator = StartCoordinator(3);
  std::vector<RendezvousClient::Options> options;
  for (int rank : {0, 1, 2}) {
    options.push_back(RankOptions(coordinator->address(), rank, 3));
    options[rank].facts = {{"binary", "aa"},
                           {"config", rank == 1 ? "12ab" : "34cd"}};
  }
  for (const Joined& joined : JoinTogether(options)) {
    EXPECT_EQ(joined.status().ToString(),
              "FAILED_PRECONDITION: rank 1 on node-1: config is 12ab, the "
              "other 2 ranks have 34cd");
  }
}

TEST(Rendezvous, ATimeComesWhenRanksAreMissed) {
  Coordinator::Options coordinator_options;
  coordinator_options.start_timeout = absl::Milliseconds(300);
  const auto coordinator = StartCoordinator(2, coordinator_options);
  EXPECT_EQ(RendezvousClient::Join(RankOptions(coordinator->address(), 1, 2))
                .status()
                .ToString(),
            "DEADLINE_EXCEEDED: after 0.3 s only 1 of 2 ranks are here; rank 0 "
            "is missing");
}

TEST(Rendezvous, ACoordinatorMayComeLate) {
  const std::string address = StartCoordinator(1)->address();
  auto options = RankOptions(address, 0, 1);
  options.start_timeout = absl::Milliseconds(300);
  EXPECT_THAT(RendezvousClient::Join(options).status().ToString(),
              HasSubstr("UNAVAILABLE: no coordinator at " + address +
                        " within 0.3 s: "));
  options.start_timeout = kPatience;
  std::vector<Joined> joined;
  std::thread joining([&] { joined = JoinTogether({options}); });
  absl::SleepFor(absl::Milliseconds(200));  // Either order must work.
  Coordinator::Options coordinator_options;
  coordinator_options.listen = address;
  const auto coordinator = StartCoordinator(1, coordinator_options);
  joining.join();
  EXPECT_TRUE(joined[0].ok()) << joined[0].status();
}

TEST(Rendezvous, ALauncherComesBackToItsCoordinator) {
  auto coordinator = StartCoordinator(1);
  const std::string address = coordinator->address();
  Heard heard;
  auto options = LauncherOptions(address);
  options.on_abort = heard.Listener();
  const auto launcher = LauncherClient::Connect(options);
  ASSERT_TRUE(launcher.ok()) << launcher.status();
  EXPECT_TRUE((*launcher)->connected());
  coordinator = nullptr;
  EXPECT_THAT(heard.Wait(),
              HasSubstr("the coordinator at " + address + " is gone"));
  EXPECT_FALSE((*launcher)->connected());
  EXPECT_TRUE(absl::IsUnavailable((*launcher)->Report(0, "exit code 1")));
  Coordinator::Options coordinator_options;
  coordinator_options.listen = address;
  coordinator = StartCoordinator(1, coordinator_options);
  EXPECT_TRUE(Eventually([&] { return (*launcher)->connected(); }));
  EXPECT_TRUE((*launcher)->Report(0, "exit code 1").ok());
  EXPECT_EQ(heard.Wait(2),
            "rank 0 on node-b ended before all ranks were here: exit code 1");
}

TEST(Rendezvous, TlsWantsTheRightCertificate) {
  const std::string folder = FreshDirectory("rendezvous_tls");
  for (const std::string name : {"mine", "other"}) {
    const TestCertificate made = MakeTestCertificate();
    NW_CHECK_OK(
        WriteFileAtomically(folder + "/" + name + ".pem", made.certificate));
    NW_CHECK_OK(WriteFileAtomically(folder + "/" + name + ".key", made.key));
  }
  Coordinator::Options coordinator_options;
  coordinator_options.tls_certificate_file = folder + "/mine.pem";
  coordinator_options.tls_key_file = folder + "/mine.key";
  const auto coordinator = StartCoordinator(1, coordinator_options);
  auto options = RankOptions(coordinator->address(), 0, 1);
  options.tls_ca_file = folder + "/mine.pem";
  const Joined joined = RendezvousClient::Join(options);
  ASSERT_TRUE(joined.ok()) << joined.status();
  EXPECT_TRUE((*joined)->Leave().ok());
  options.start_timeout = absl::Milliseconds(500);
  for (const std::string& ca : {std::string(), folder + "/other.pem"}) {
    options.tls_ca_file = ca;
    EXPECT_TRUE(absl::IsUnavailable(RendezvousClient::Join(options).status()));
  }
  options.tls_ca_file = folder + "/none.pem";
  EXPECT_THAT(RendezvousClient::Join(options).status().ToString(),
              HasSubstr("none.pem"));
  coordinator_options.tls_key_file = "";
  EXPECT_FALSE(Coordinator::Start(coordinator_options).ok());
}

TEST(Rendezvous, ListensWhereToldAndNowhereElse) {
  const auto coordinator = StartCoordinator(1);
  const int port = PortOf(coordinator->address());
  EXPECT_EQ(coordinator->address(), absl::StrCat("127.0.0.1:", port));
  const int connection = ConnectTo(port);
  EXPECT_GE(connection, 0);
  close(connection);
  EXPECT_EQ(ConnectTo(port, "127.0.0.2"), -1);
  Coordinator::Options options;
  options.listen = coordinator->address();
  options.run_id = "run";
  options.token = "secret";
  EXPECT_THAT(Coordinator::Start(options).status().ToString(),
              HasSubstr("cannot listen at " + coordinator->address()));
  options.token = "";
  EXPECT_THAT(Coordinator::Start(options).status().ToString(),
              HasSubstr("the token has 0 bytes"));
}

TEST(Rendezvous, StrangersDoNotDisturb) {
  const auto coordinator = StartCoordinator(1);
  const int port = PortOf(coordinator->address());
  const Joined joined =
      RendezvousClient::Join(RankOptions(coordinator->address(), 0, 1));
  ASSERT_TRUE(joined.ok()) << joined.status();
  for (const std::string& bytes :
       {std::string("GET / HTTP/1.1\r\n\r\n"), std::string(100'000, '\xff'),
        std::string("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n") +
            std::string(10'000, '\x01')}) {
    const int connection = ConnectTo(port);
    ASSERT_GE(connection, 0);
    EXPECT_GT(send(connection, bytes.data(), bytes.size(), MSG_NOSIGNAL), 0);
    close(connection);
  }
  EXPECT_TRUE((*joined)->Put("k", "v").ok());
  EXPECT_TRUE((*joined)->Leave().ok());
}

}  // namespace
}  // namespace nextword
