// SPDX-License-Identifier: Apache-2.0
#include "sys/sockets.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cerrno>
#include <thread>

#include "base/ip_literals.h"
#include "sys/links.h"
#include "sys/netns.h"
#include "sys/poller.h"

namespace sluice::sys {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
constexpr std::uint16_t kPort = 7;
constexpr seconds kPatience{60};  // with a busy machine

// A namespace whose loopback has further addresses.
class SocketsTest : public testing::Test {
 protected:
  SocketsTest() : netns_(fmt::format("slt{}-sockets", ::getpid())) {
    EXPECT_TRUE(add_netns(netns_));
    const auto prepared = in_netns(netns_, []() -> Result<> {
      SLUICE_CHECK_OK(set_up("lo"));
      SLUICE_CHECK_OK(add_address("lo", ip("192.0.2.1"), 32));
      return add_address("lo", ip("2001:db8::1"), 128);
    });
    EXPECT_TRUE(prepared) << prepared.error().what;
  }
  ~SocketsTest() override { (void)remove_netns(netns_); }

  UniqueFd serve(Result<UniqueFd> (*open)(std::uint16_t)) {
    UniqueFd socket;
    const auto opened = in_netns(netns_, [&]() -> Result<> {
      SLUICE_TRY(socket, open(kPort));
      return {};
    });
    EXPECT_TRUE(opened) << opened.error().what;
    return socket;
  }
  [[nodiscard]] ConnectSpec spec(Protocol protocol, std::string_view to) const {
    return {.netns = netns_, .protocol = protocol, .to = {ip(to), kPort}, .from = std::nullopt, .timeout = kPatience};
  }
  // Non-blocking servers are polled until something arrives.
  template <typename Ask>
  static auto wait_for(Ask ask) {
    auto found = ask();
    for (int turn = 0; turn < 60000 && found && !*found; ++turn) {
      std::this_thread::sleep_for(milliseconds(1));
      found = ask();
    }
    return found;
  }

  std::string netns_;
};

TEST_F(SocketsTest, TcpServerSeesBothEndsInBothFamilies) {
  const UniqueFd listener = serve(listen_tcp);
  for (const std::string_view to : {"192.0.2.1", "2001:db8::1"}) {
    const auto client = connect_socket(spec(Protocol::kTcp, to));
    ASSERT_TRUE(client) << client.error().what;
    const auto accepted = wait_for([&] { return accept_connection(listener); });
    ASSERT_TRUE(accepted && *accepted) << to;
    EXPECT_EQ((*accepted)->local, (SocketAddress{ip(to), kPort}));
    EXPECT_EQ((*accepted)->client, *local_address(*client));
    ASSERT_TRUE(send_within((*accepted)->socket, "hello", kPatience));
    EXPECT_EQ(*receive_within(*client, kPatience), "hello");
  }
  EXPECT_FALSE(*accept_connection(listener)) << "none is waiting";
}

TEST_F(SocketsTest, UdpRepliesComeFromTheAddressOfTheRequest) {
  const UniqueFd server = serve(bind_udp);
  for (const std::string_view to : {"127.0.0.1", "192.0.2.1", "::1", "2001:db8::1"}) {
    // A connected client accepts replies from `to` only.
    const auto client = connect_socket(spec(Protocol::kUdp, to));
    ASSERT_TRUE(client) << client.error().what;
    ASSERT_TRUE(send_within(*client, "who", kPatience));
    const auto request = wait_for([&] { return receive_datagram(server); });
    ASSERT_TRUE(request && *request) << to;
    EXPECT_EQ((*request)->data, "who");
    EXPECT_EQ((*request)->local, ip(to));
    ASSERT_TRUE(reply_datagram(server, **request, "me"));
    const auto answer = receive_within(*client, kPatience);
    ASSERT_TRUE(answer) << to << ": " << answer.error().what;
    EXPECT_EQ(*answer, "me");
  }
}

TEST_F(SocketsTest, TheSourceIsAsRequested) {
  const UniqueFd listener = serve(listen_tcp);
  ConnectSpec with_source = spec(Protocol::kTcp, "127.0.0.1");
  with_source.from = SocketAddress{ip("192.0.2.1"), 4000};
  const auto client = connect_socket(with_source);
  ASSERT_TRUE(client) << client.error().what;
  EXPECT_EQ(*local_address(*client), *with_source.from);
  with_source.from = SocketAddress{ip("192.0.2.99"), 0};
  const auto foreign = connect_socket(with_source);
  ASSERT_FALSE(foreign);
  EXPECT_EQ(foreign.error().sys_errno, EADDRNOTAVAIL);
}

TEST_F(SocketsTest, TheKernelsReasonIsKept) {
  const struct {
    const char* name;
    const char* to;
    int wanted;
  } rows[] = {{"no listener", "127.0.0.1", ECONNREFUSED}, {"no route", "203.0.113.1", ENETUNREACH}};
  for (const auto& row : rows) {
    const auto client = connect_socket(spec(Protocol::kTcp, row.to));
    ASSERT_FALSE(client) << row.name;
    EXPECT_EQ(client.error().sys_errno, row.wanted) << row.name;
    EXPECT_THAT(client.error().what, testing::HasSubstr(row.to));
  }
  const auto sctp = connect_socket(spec(Protocol::kSctp, "127.0.0.1"));
  ASSERT_FALSE(sctp);
  EXPECT_EQ(sctp.error().code, Errc::kUnsupported);
}

TEST_F(SocketsTest, SilenceIsATimeoutAndTheEndIsEmpty) {
  const UniqueFd listener = serve(listen_tcp);
  const auto client = connect_socket(spec(Protocol::kTcp, "127.0.0.1"));
  ASSERT_TRUE(client);
  const auto silent = receive_within(*client, milliseconds(10));
  ASSERT_FALSE(silent);
  EXPECT_EQ(silent.error().sys_errno, ETIMEDOUT);
  EXPECT_FALSE(*read_some(*client)) << "nothing yet";
  ASSERT_TRUE(wait_for([&] { return accept_connection(listener); })) << "accepted, and closed at once";
  EXPECT_EQ(*receive_within(*client, kPatience), "");
}

TEST_F(SocketsTest, TwoServersOfOnePortAreRefused) {
  const UniqueFd first = serve(listen_tcp);
  const auto second = in_netns(netns_, []() -> Result<> {
    const auto opened = listen_tcp(kPort);
    if (!opened) return tl::unexpected(opened.error());
    return {};
  });
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, Errc::kAlreadyExists);
}

TEST_F(SocketsTest, PollerReportsReadySockets) {
  auto poller = Poller::open();
  ASSERT_TRUE(poller);
  const UniqueFd listener = serve(listen_tcp);
  ASSERT_TRUE(poller->add(listener, 42));
  EXPECT_THAT(*poller->wait(milliseconds(0)), testing::IsEmpty());
  const auto client = connect_socket(spec(Protocol::kTcp, "127.0.0.1"));
  ASSERT_TRUE(client);
  auto events = poller->wait(kPatience);
  ASSERT_TRUE(events);
  ASSERT_EQ(events->size(), 1U);
  EXPECT_EQ(events->front().token, 42U);
  EXPECT_TRUE(events->front().readable);
  EXPECT_FALSE(events->front().writable);
  // An idle connection can be written to, but that was not requested until now.
  ASSERT_TRUE(poller->add(*client, 43));
  ASSERT_TRUE(accept_connection(listener));
  ASSERT_TRUE(poller->change(*client, 43, Poller::Interest::kReadAndWrite));
  events = poller->wait(kPatience);
  ASSERT_EQ(events->size(), 1U);
  EXPECT_EQ(events->front().token, 43U);
  EXPECT_TRUE(events->front().writable);
}

TEST_F(SocketsTest, PollerIsWokenByAnotherThread) {
  auto poller = Poller::open();
  ASSERT_TRUE(poller);
  std::thread waker([&poller] { poller->wake(); });
  const auto events = poller->wait(std::chrono::minutes(10));  // the test's own time limit would end it
  waker.join();
  ASSERT_TRUE(events);
  EXPECT_THAT(*events, testing::IsEmpty());
}

}  // namespace
}  // namespace sluice::sys
