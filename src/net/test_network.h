// SPDX-License-Identifier: Apache-2.0
// For tests with servers and clients on loopback: the program has a network namespace of its own. In the machine's, a
// port that a test chose or freed may go to a connection of another program, and a resolver would query real servers.
#pragma once

#include <gtest/gtest.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <cstdint>
#include <cstring>

#include "base/unique_fd.h"

namespace sluice::net::test {

// No process listens there, and the kernel assigns it to no connection.
inline constexpr std::uint16_t kPortOfNobody = 9;

class OwnNetwork : public testing::Environment {
 public:
  void SetUp() override {
    if (::unshare(CLONE_NEWNET) != 0) return;  // without root the machine's own must do
    const UniqueFd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    ifreq request{};
    std::strcpy(request.ifr_name, "lo");
    request.ifr_flags = IFF_UP;
    EXPECT_EQ(::ioctl(socket.get(), SIOCSIFFLAGS, &request), 0) << std::strerror(errno);
  }
};

inline testing::Environment* const own_network = testing::AddGlobalTestEnvironment(new OwnNetwork);

}  // namespace sluice::net::test
