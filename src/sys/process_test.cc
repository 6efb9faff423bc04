// SPDX-License-Identifier: Apache-2.0
#include "sys/process.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdlib>

#include "base/unique_fd.h"

namespace sluice::sys {
namespace {

TEST(Process, CollectsOutputErrorsAndExitStatus) {
  const auto outcome = run_and_collect({"sh", "-c", "read line; echo \"got $line\"; echo oops >&2; exit 3"}, "hello\n");
  ASSERT_TRUE(outcome) << outcome.error().what;
  EXPECT_EQ(outcome->exit_status, 3);
  EXPECT_EQ(outcome->output, "got hello\n");
  EXPECT_EQ(outcome->error_output, "oops\n");
}

TEST(Process, ProgramThatDoesNotExistIsNotFound) {
  const auto outcome = run_and_collect({"sluice-no-such-program"});
  ASSERT_FALSE(outcome);
  EXPECT_EQ(outcome.error().code, Errc::kNotFound);
  EXPECT_NE(outcome.error().what.find("sluice-no-such-program"), std::string::npos);
}

TEST(Process, NamingNoProgramIsInvalid) {
  const auto outcome = run_process({});
  ASSERT_FALSE(outcome);
  EXPECT_EQ(outcome.error().code, Errc::kInvalid);
}

TEST(Process, StreamsMoreThanPipesHoldBothWaysAtOnce) {
  constexpr std::size_t kPieces = 64;
  const std::string piece(128 * 1024, 'x');
  std::size_t sent = 0;
  std::size_t received = 0;
  ProcessOptions options;
  options.arguments = {"cat"};
  options.input = [&]() -> std::string_view { return sent++ < kPieces ? std::string_view(piece) : std::string_view(); };
  options.output = [&](std::string_view text) { received += text.size(); };
  const auto outcome = run_process(options);
  ASSERT_TRUE(outcome) << outcome.error().what;
  EXPECT_EQ(outcome->exit_status, 0);
  EXPECT_EQ(received, kPieces * piece.size());
}

TEST(Process, ProgramThatStopsReadingDoesNotEndUs) {
  std::size_t pieces_left = 1000;
  const std::string piece(64 * 1024, 'x');
  ProcessOptions options;
  options.arguments = {"sh", "-c", "exit 7"};
  options.input = [&]() -> std::string_view {
    return pieces_left-- > 0 ? std::string_view(piece) : std::string_view();
  };
  const auto outcome = run_process(options);
  ASSERT_TRUE(outcome) << outcome.error().what;
  EXPECT_EQ(outcome->exit_status, 7);
  sigset_t pending;
  ::sigpending(&pending);
  EXPECT_EQ(::sigismember(&pending, SIGPIPE), 0) << "our own SIGPIPE must not stay behind";
}

TEST(Process, HangingProgramIsKilledAtTheDeadline) {
  const auto outcome = run_and_collect({"sleep", "1000"}, {}, std::chrono::milliseconds(50));
  ASSERT_FALSE(outcome);
  EXPECT_EQ(outcome.error().code, Errc::kUnavailable);
  EXPECT_NE(outcome.error().what.find("sleep"), std::string::npos);
}

TEST(Process, DeathBySignalIsReported) {
  const auto outcome = run_and_collect({"sh", "-c", "kill -TERM $$"});
  ASSERT_TRUE(outcome) << outcome.error().what;
  EXPECT_EQ(outcome->exit_status, 128 + SIGTERM);
}

// An iptables-restore that keeps writing after its proxy was killed disturbs the next proxy.
TEST(Process, DiesWithTheProcessThatRunsIt) {
  std::array<int, 2> told{};
  ASSERT_EQ(::pipe2(told.data(), O_CLOEXEC), 0);
  const pid_t runner = ::fork();
  ASSERT_GE(runner, 0);
  if (runner == 0) {
    ProcessOptions options;
    options.arguments = {"sh", "-c", "echo $$; exec sleep 1000"};
    options.output = [&told](std::string_view text) { (void)!::write(told[1], text.data(), text.size()); };
    (void)run_process(options);
    ::_exit(0);
  }
  std::array<char, 32> text{};
  ASSERT_GT(::read(told[0], text.data(), text.size() - 1), 0);
  const UniqueFd program(static_cast<int>(::syscall(SYS_pidfd_open, std::atoi(text.data()), 0)));
  ASSERT_TRUE(program);
  ASSERT_EQ(::kill(runner, SIGKILL), 0);
  ASSERT_EQ(::waitpid(runner, nullptr, 0), runner);
  pollfd ended{program.get(), POLLIN, 0};
  EXPECT_EQ(::poll(&ended, 1, 60'000), 1) << "the program lives on";
  ::close(told[0]);
  ::close(told[1]);
}

TEST(Process, GrandchildHoldingThePipesDoesNotHoldUs) {
  // The grandchild outlives its parent with all pipes open; it ends by itself soon after.
  const auto outcome = run_and_collect({"sh", "-c", "sleep 2 & echo started"}, {}, std::chrono::minutes(1));
  ASSERT_TRUE(outcome) << outcome.error().what;
  EXPECT_EQ(outcome->output, "started\n");
}

TEST(Process, OnlyTheEndOfALongErrorOutputIsKept) {
  const auto outcome = run_and_collect({"sh", "-c", "yes warning | head -c 200000 >&2; echo last >&2"});
  ASSERT_TRUE(outcome) << outcome.error().what;
  EXPECT_EQ(outcome->error_output.size(), 64u * 1024);
  EXPECT_TRUE(outcome->error_output.ends_with("last\n"));
}

TEST(Process, ChildInheritsNoOtherDescriptor) {
  const int leaky = ::open("/dev/null", O_RDONLY);  // deliberately without O_CLOEXEC
  ASSERT_GE(leaky, 0);
  const int high = ::fcntl(leaky, F_DUPFD, 200);
  const auto outcome = run_and_collect({"sh", "-c", "ls /proc/$$/fd"});
  ::close(leaky);
  ::close(high);
  ASSERT_TRUE(outcome) << outcome.error().what;
  EXPECT_EQ(outcome->output.find("200"), std::string::npos) << outcome->output;
}

}  // namespace
}  // namespace sluice::sys
