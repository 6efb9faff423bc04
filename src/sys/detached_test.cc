// SPDX-License-Identifier: Apache-2.0
#include "sys/detached.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <sstream>
#include <thread>

namespace sluice::sys {
namespace {

using std::chrono::milliseconds;
using testing::Contains;
using testing::HasSubstr;
using testing::Not;

bool eventually(const std::function<bool()>& holds) {
  for (int turn = 0; turn < 60000; ++turn) {
    if (holds()) return true;
    std::this_thread::sleep_for(milliseconds(1));
  }
  return false;
}

std::string text_of(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

// A folder for logs, and the end of what a test started.
class DetachedTest : public testing::Test {
 protected:
  DetachedTest() : folder_(fmt::format("{}/detached{}", testing::TempDir(), ::getpid())) {
    std::filesystem::create_directories(folder_);
  }
  ~DetachedTest() override {
    for (const ProcessId& process : started_) (void)end_process(process, milliseconds(0));
    std::filesystem::remove_all(folder_);
  }
  ProcessId start(std::vector<std::string> arguments, std::vector<std::string> environment = {},
                  std::string netns = {}) {
    const auto process = start_detached({.arguments = std::move(arguments),
                                         .netns = std::move(netns),
                                         .log_file = log(),
                                         .environment = std::move(environment)});
    EXPECT_TRUE(process) << process.error().what;
    if (!process) return {};
    started_.push_back(*process);
    return *process;
  }
  [[nodiscard]] std::string log() const { return folder_ + "/log"; }

  std::string folder_;
  std::vector<ProcessId> started_;
};

TEST_F(DetachedTest, WritesBothOutputsToItsLogAndSeesItsEnvironment) {
  const ProcessId process = start({"sh", "-c", "echo out $WORD; echo err >&2; pwd"}, {"WORD=hello"});
  ASSERT_TRUE(eventually([&] { return !process_alive(process); }));
  EXPECT_EQ(text_of(log()), "out hello\nerr\n/\n");
}

TEST_F(DetachedTest, ItsGivenEnvironmentReplacesOurs) {
  ASSERT_EQ(::setenv("SLUICE_TEST_WORD", "ours", 1), 0);
  const ProcessId process = start({"sh", "-c", "echo $SLUICE_TEST_WORD"}, {"SLUICE_TEST_WORD=given"});
  ::unsetenv("SLUICE_TEST_WORD");
  ASSERT_TRUE(eventually([&] { return !process_alive(process); }));
  EXPECT_EQ(text_of(log()), "given\n");
}

TEST_F(DetachedTest, IsAliveUntilItIsEnded) {
  const ProcessId process = start({"sleep", "600"});
  EXPECT_TRUE(process_alive(process));
  // The kernel lets us continue before it has laid out the new program's arguments (exec_mmap, fs/exec.c).
  EXPECT_TRUE(eventually([&] { return command_line(process) == "sleep 600"; })) << command_line(process);
  const auto ended = end_process(process, std::chrono::seconds(10));
  ASSERT_TRUE(ended) << ended.error().what;
  EXPECT_FALSE(process_alive(process));
  EXPECT_EQ(command_line(process), "");
  EXPECT_TRUE(end_process(process, milliseconds(0))) << "ending what has ended succeeds";
  EXPECT_TRUE(signal_process(process, SIGTERM)) << "so does a signal to it";
}

TEST_F(DetachedTest, OneThatIgnoresSigtermIsKilledAfterTheGrace) {
  const ProcessId process = start({"sh", "-c", "trap '' TERM; echo ready; while :; do sleep 1; done"});
  ASSERT_TRUE(eventually([&] { return text_of(log()) == "ready\n"; }));
  ASSERT_TRUE(end_process(process, milliseconds(50)));
  EXPECT_FALSE(process_alive(process));
}

TEST_F(DetachedTest, AnotherProcessWithTheSameIdIsLeftAlone) {
  const ProcessId process = start({"sleep", "600"});
  const ProcessId earlier{process.pid, process.start_time - 1};
  EXPECT_FALSE(process_alive(earlier));
  EXPECT_TRUE(end_process(earlier, milliseconds(0)));
  EXPECT_TRUE(signal_process(earlier, SIGKILL));
  EXPECT_TRUE(process_alive(process));
}

TEST_F(DetachedTest, AMissingProgramIsNotFound) {
  const auto process =
      start_detached({.arguments = {"/nonexistent/program"}, .netns = {}, .log_file = log(), .environment = {}});
  ASSERT_FALSE(process);
  EXPECT_EQ(process.error().code, Errc::kNotFound);
  EXPECT_THAT(process.error().what, HasSubstr("/nonexistent/program"));
}

TEST_F(DetachedTest, IsFoundByItsEnvironmentAndOnlyByTheWholeEntry) {
  const std::string entry = fmt::format("SLUICE_TEST_MARK={}", ::getpid());
  const ProcessId process = start({"sleep", "600"}, {entry});
  const ProcessId longer = start({"sleep", "600"}, {entry + "0"});
  // The environment of a process that has not called exec yet is ours.
  ASSERT_TRUE(eventually([&] { return find_processes({.namespaces = {}, .environment_entry = entry})->size() == 1; }));
  const auto found = find_processes({.namespaces = {}, .environment_entry = entry});
  EXPECT_THAT(*found, Contains(process));
  EXPECT_THAT(*found, Not(Contains(longer)));
  EXPECT_THAT(*find_processes({.namespaces = {}, .environment_entry = {}}), testing::IsEmpty());
}

TEST_F(DetachedTest, IsFoundByItsNamespaceButWeAreNot) {
  const std::string netns = fmt::format("slt{}-detached", ::getpid());
  ASSERT_TRUE(add_netns(netns));
  const ProcessId process = start({"sleep", "600"}, {}, netns);
  const ProcessMark mark{.namespaces = {*netns_id(netns)}, .environment_entry = {}};
  Result<std::vector<ProcessId>> found;
  EXPECT_TRUE(in_netns(netns, [&]() -> Result<> {
    found = find_processes(mark);
    return {};
  }));
  EXPECT_TRUE(remove_netns(netns));
  ASSERT_TRUE(found) << found.error().what;
  EXPECT_THAT(*found, testing::ElementsAre(process));
}

}  // namespace
}  // namespace sluice::sys
