// SPDX-License-Identifier: Apache-2.0
#include "net/local_channel.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <boost/asio/local/stream_protocol.hpp>
#include <cerrno>
#include <thread>
#include <vector>

namespace sluice::net {
namespace {

std::string test_name(const char* suffix) {
  return "sluice-test-" + std::to_string(::getpid()) + suffix;
}

TEST(LocalChannel, DeliversRequestAndResponse) {
  EventLoop loop;
  const std::string name = test_name("ask");
  auto server = LocalServer::listen(
      loop, name, [](const std::string& request, const LocalServer::Reply& reply) { reply("got " + request); });
  ASSERT_TRUE(server) << server.error().what;
  std::thread thread([&loop] { loop.run(); });
  const auto answer = ask_local_server(name, "status json", std::chrono::seconds(60));
  loop.stop();
  thread.join();
  ASSERT_TRUE(answer) << answer.error().what;
  EXPECT_EQ(*answer, "got status json");
}

TEST(LocalChannel, ALargeResponseFromAnotherThreadArrivesWhole) {
  EventLoop loop;
  const std::string name = test_name("large");
  const std::string large(3000000, 'x');
  std::thread answering;
  auto server = LocalServer::listen(loop, name, [&](const std::string&, LocalServer::Reply reply) {
    answering = std::thread([reply = std::move(reply), &large] { reply(large); });
  });
  ASSERT_TRUE(server) << server.error().what;
  std::thread thread([&loop] { loop.run(); });
  const auto answer = ask_local_server(name, "x", std::chrono::seconds(60));
  loop.stop();
  thread.join();
  answering.join();
  ASSERT_TRUE(answer) << answer.error().what;
  EXPECT_EQ(answer->size(), large.size());
}

// Two silent clients take all places; without a time limit no other client would ever be served.
TEST(LocalChannel, SilentClientsMakeRoomForOthers) {
  EventLoop loop;
  const std::string name = test_name("silent");
  const LocalLimits limits{.sessions = 2, .request = std::chrono::milliseconds(50)};
  auto server = LocalServer::listen(
      loop, name, [](const std::string&, const LocalServer::Reply& reply) { reply("heard"); }, limits);
  ASSERT_TRUE(server) << server.error().what;
  std::thread thread([&loop] { loop.run(); });
  EventLoop unused;
  std::vector<boost::asio::local::stream_protocol::socket> silent;
  for (int i = 0; i < 4; ++i) {
    silent.emplace_back(unused);
    silent.back().connect(boost::asio::local::stream_protocol::endpoint(std::string(1, '\0') + name));
  }
  // On a busy machine the client may itself be disconnected before it has written its line, so it retries. Without the
  // limit its first request would wait for a response until its own 60 seconds are over.
  Result<std::string> answer = fail(Errc::kUnavailable, "not asked");
  for (int i = 0; i < 20 && (!answer || answer->empty()); ++i) {
    answer = ask_local_server(name, "status", std::chrono::seconds(60));
    if (!answer && answer.error().sys_errno == EAGAIN) break;
  }
  loop.stop();
  thread.join();
  ASSERT_TRUE(answer) << answer.error().what;
  EXPECT_EQ(*answer, "heard");
}

TEST(LocalChannel, ADestroyedServerReleasesItsName) {
  EventLoop loop;
  const std::string name = test_name("gone");
  const auto handler = [](const std::string&, const LocalServer::Reply&) {};
  auto first = LocalServer::listen(loop, name, handler);
  ASSERT_TRUE(first) << first.error().what;
  first->reset();
  EXPECT_TRUE(LocalServer::listen(loop, name, handler));
}

TEST(LocalChannel, WithoutAServerItIsNotFound) {
  const auto answer = ask_local_server(test_name("nobody"), "x", std::chrono::seconds(1));
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code, Errc::kNotFound);
}

TEST(LocalChannel, TheSecondListenerIsRefused) {
  EventLoop loop;
  const auto handler = [](const std::string&, const LocalServer::Reply&) {};
  const auto first = LocalServer::listen(loop, test_name("twice"), handler);
  ASSERT_TRUE(first) << first.error().what;
  const auto second = LocalServer::listen(loop, test_name("twice"), handler);
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, Errc::kAlreadyExists);
}

}  // namespace
}  // namespace sluice::net
