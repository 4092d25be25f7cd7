// Where other machines find this one.
#include "distributed/rendezvous/local_address.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace nextword {
namespace {

TEST(LocalAddress, TowardsTheLoopbackIsTheLoopback) {
  EXPECT_EQ(*LocalAddressTowards("127.0.0.1:1"), "127.0.0.1");
  EXPECT_EQ(*LocalAddressTowards("127.0.0.9:65535"), "127.0.0.1");
  const auto local = LocalAddressTowards("localhost:80");
  ASSERT_TRUE(local.ok()) << local.status();
  EXPECT_TRUE(*local == "127.0.0.1" || *local == "::1") << *local;
}

TEST(LocalAddress, NamesWhatIsWrong) {
  for (const std::string address :
       {"", "host", "127.0.0.1", ":80", "host:", "::1", "[::1:80", "::1:80"}) {
    EXPECT_EQ(LocalAddressTowards(address).status().ToString(),
              "INVALID_ARGUMENT: address '" + address + "': wanted HOST:PORT");
  }
  EXPECT_THAT(LocalAddressTowards("127.0.0.1:x").status().ToString(),
              testing::HasSubstr("127.0.0.1:x: "));
}

TEST(LocalAddress, ThisMachineHasAName) {
  EXPECT_FALSE(HostName().empty());
  EXPECT_EQ(HostName().find('\n'), std::string::npos);
}

}  // namespace
}  // namespace nextword
