// SPDX-License-Identifier: Apache-2.0
// How an engine is chosen, and what is reported when there is none. What ipvsadm does with one is in the recorded
// sessions (test/golden/ipvsadm).
#include "ipvs/text/ipvsadm.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cerrno>

#include "ipvs/borrowed_engine.h"
#include "ipvs/fake_engine.h"

namespace sluice::ipvs::text {
namespace {

class NoNames : public Names {
 public:
  std::optional<IpAddress> host_address(const std::string&) override { return std::nullopt; }
  std::optional<std::uint16_t> service_port(const std::string&, std::uint16_t) override { return std::nullopt; }
  std::optional<std::string> host_name(Family, const IpAddress&) override { return std::nullopt; }
  std::optional<std::string> service_name(std::uint16_t, std::uint16_t) override { return std::nullopt; }
};

struct Outcome {
  int status = 0;
  std::string out;
  std::string err;
  std::string asked_for;  // the engine that was opened, or would have been
};

class Ipvsadm : public testing::Test {
 protected:
  using Program = int (*)(const Invocation&, const OpenEngine&, Names&, const Console&);

  Outcome run(std::vector<std::string> arguments, std::string engine = "auto", Program program = &run_ipvsadm) {
    Outcome outcome;
    const Console console{[&](std::string_view text) { outcome.out += text; },
                          [&](std::string_view text) { outcome.err += text; },
                          [&]() -> std::optional<std::string> {
                            if (input_.empty()) return std::nullopt;
                            std::string line = input_.front();
                            input_.erase(input_.begin());
                            return line;
                          },
                          [&] { return input_comes_at_once_; }};
    const OpenEngine open = [&](EngineChoice choice) -> Result<std::unique_ptr<Engine>> {
      outcome.asked_for = to_string(choice);
      if (problem_) return tl::unexpected(*problem_);
      return std::make_unique<BorrowedEngine>(engine_);
    };
    NoNames names;
    outcome.status = program({"ipvsadm", std::move(arguments), std::move(engine)}, open, names, console);
    return outcome;
  }

  FakeEngine engine_;
  std::optional<Error> problem_;
  std::vector<std::string> input_;
  bool input_comes_at_once_ = true;
};

TEST_F(Ipvsadm, TheEngineIsThatOfTheFirstOptionElseOfTheCaller) {
  struct Row {
    std::vector<std::string> arguments;
    std::string wanted;
  };
  const std::vector<Row> rows{{{"-L"}, "auto"},
                              {{}, "auto"},
                              {{"--engine", "kernel", "-L"}, "kernel"},
                              {{"--engine=auto", "-L"}, "auto"},
                              {{"--engine=kernel"}, "kernel"}};
  for (const Row& row : rows) EXPECT_EQ(run(row.arguments).asked_for, row.wanted);
  EXPECT_EQ(run({"-L"}, "kernel").asked_for, "kernel");
  EXPECT_EQ(run({"--engine", "auto", "-L"}, "kernel").asked_for, "auto");
}

TEST_F(Ipvsadm, EngineIsNotAnOptionAfterACommand) {
  const Outcome outcome = run({"-L", "--engine", "kernel"});
  EXPECT_EQ(outcome.status, 255);
  EXPECT_EQ(outcome.err, "--engine: unknown option\n");
}

TEST_F(Ipvsadm, EngineNeedsAName) {
  const Outcome outcome = run({"--engine"});
  EXPECT_EQ(outcome.status, 2);
  EXPECT_EQ(outcome.err, "--engine: missing argument\n");
}

TEST_F(Ipvsadm, WithoutIpvsEvenHelpFailsAndSaysWhy) {
  problem_ = Error{Errc::kUnavailable, "ipvs: this kernel has none: kernel module ip_vs cannot be loaded", ENOPROTOOPT};
  const Outcome outcome = run({"--help"});
  EXPECT_EQ(outcome.status, 2);
  EXPECT_EQ(outcome.out, "");
  EXPECT_EQ(outcome.err,
            "ipvs: this kernel has none: kernel module ip_vs cannot be loaded\n"
            "Can't initialize ipvs: Protocol not available\n"
            "Are you sure that IP Virtual Server is built in the kernel or as module?\n");
}

TEST_F(Ipvsadm, WithoutRootItSaysSoLikeTheOriginal) {
  problem_ = Error{Errc::kPermission, "ipvs: open: not permitted", EPERM};
  EXPECT_EQ(run({"-L"}).err,
            "Can't initialize ipvs: Permission denied (you must be root)\n"
            "Are you sure that IP Virtual Server is built in the kernel or as module?\n");
}

TEST_F(Ipvsadm, AnEngineThatThisProgramLacksIsNotAskedFor) {
  for (const auto& [word, choice] : kEngineWords) {
    if (check_built_in(choice)) continue;
    for (Program program : {&run_ipvsadm, &run_ipvsadm_restore}) {
      const Outcome outcome = run({fmt::format("--engine={}", word)}, "auto", program);
      EXPECT_EQ(outcome.status, 2);
      EXPECT_EQ(outcome.err, fmt::format("the IPVS engine '{}' is not built into this program\n", word));
      EXPECT_EQ(outcome.asked_for, "");
    }
  }
}

TEST_F(Ipvsadm, AnotherWordIsNoEngine) {
  for (const std::string& word : {std::string(), std::string("Kernel"), std::string("bpf")}) {
    const Outcome outcome = run({"--engine=" + word, "-L"});
    EXPECT_EQ(outcome.status, 2);
    EXPECT_EQ(outcome.err, fmt::format("there is no IPVS engine '{}': it is one of kernel, ebpf, auto\n", word));
    EXPECT_EQ(outcome.asked_for, "");
    EXPECT_EQ(run({"-L"}, word).err, outcome.err) << "from the environment";
  }
}

// An engine of ours may fail to open without the kernel having said anything.
TEST_F(Ipvsadm, WhatHasNoErrnoIsSaidInItsOwnWords) {
  problem_ = Error{Errc::kUnavailable, "there is no bpffs", 0};
  EXPECT_EQ(run({"-L"}).err, "Can't initialize ipvs: there is no bpffs\n");
}

TEST_F(Ipvsadm, CompanionsAcceptTheEngineToo) {
  EXPECT_EQ(run({"--engine", "kernel", "-n"}, "auto", &run_ipvsadm_save).asked_for, "kernel");
  EXPECT_EQ(run({"--engine=kernel"}, "auto", &run_ipvsadm_restore).asked_for, "kernel");
}

TEST_F(Ipvsadm, SaveRefusesUnknownOptionsBeforeItOpensAnEngine) {
  problem_ = Error{Errc::kPermission, "ipvs: open: not permitted", EPERM};
  const Outcome outcome = run({"-n", "-x"}, "auto", &run_ipvsadm_save);
  EXPECT_EQ(outcome.status, 1);
  EXPECT_TRUE(outcome.err.starts_with("ipvsadm-save: ")) << outcome.err;
  EXPECT_EQ(outcome.asked_for, "");
}

TEST_F(Ipvsadm, RestoreReportsMissingIpvsTwiceSinceItIsTwoCalls) {
  problem_ = Error{Errc::kPermission, "ipvs: open: not permitted", EPERM};
  const std::string once =
      "Can't initialize ipvs: Permission denied (you must be root)\n"
      "Are you sure that IP Virtual Server is built in the kernel or as module?\n";
  const Outcome outcome = run({}, "auto", &run_ipvsadm_restore);
  EXPECT_EQ(outcome.status, 2);
  EXPECT_EQ(outcome.err, once + once);
}

TEST_F(Ipvsadm, ANumberOfADaemonBeyondTheSignedOnesIsShownAsTheOriginalShowsIt) {
  ASSERT_TRUE(engine_.start_sync_daemon(
      {.role = SyncRole::kMaster, .interface = "eth0", .sync_id = 0xffffffff, .group = std::nullopt}));
  EXPECT_EQ(run({"-L", "--daemon"}).out,
            "master sync daemon (mcast=eth0, syncid=-1, maxlen=1472, group=224.0.0.81, port=8848, ttl=1)\n");
}

TEST_F(Ipvsadm, SaveIgnoresWordsThatAreNoOptions) {
  ASSERT_EQ(run({"-A", "-t", "10.0.0.1:80", "-s", "rr"}).status, 0);
  EXPECT_EQ(run({"foo", "-n", "bar"}, "auto", &run_ipvsadm_save).out, "-A -t 10.0.0.1:80 -s rr\n");
}

TEST_F(Ipvsadm, AFlagTakesNoArgumentInEitherSpelling) {
  EXPECT_EQ(run({"-L", "-n=3"}).err, "-n=3: option does not take an argument\n");
  EXPECT_EQ(run({"-Ln="}).err, "-Ln=: option does not take an argument\n");
  EXPECT_EQ(run({"-L", "--numeric="}).err, "--numeric=: option does not take an argument\n");
}

// 3000 lines are three batches; a refusal in the middle is reported and hides nothing.
TEST_F(Ipvsadm, ALongRestoreGoesToTheEngineInBatches) {
  for (int port = 1; port <= 1500; ++port) {
    input_.push_back("-A -t 10.0.0.1:" + std::to_string(port));
    input_.push_back(port == 700 ? "-A -t 10.0.0.1:1" : "-a -t 10.0.0.1:" + std::to_string(port) + " -r 10.2.0.1 -m");
  }
  const Outcome outcome = run({"-R"});
  EXPECT_EQ(outcome.status, 0);
  EXPECT_EQ(outcome.err, "Service already exists\n");
  EXPECT_EQ(engine_.apply_calls, 3U);
  const auto all = list_all(engine_);
  ASSERT_TRUE(all);
  EXPECT_EQ(all->size(), 1500U);
}

TEST_F(Ipvsadm, ALineWithoutASuccessorIsAppliedAtOnce) {
  input_comes_at_once_ = false;
  input_ = {"-A -t 10.0.0.1:80", "-A -t 10.0.0.1:80"};
  const Outcome outcome = run({"-R"});
  EXPECT_EQ(engine_.apply_calls, 2U);
  EXPECT_EQ(outcome.status, 255) << "the last line's";
  EXPECT_EQ(outcome.err, "Service already exists\n");
}

// What ipvsadm 1.31 does with -h and -v and any other words beside them, observed from the real one. Its help is
// another author's text, so ours begins with the same line and continues in our own words; all the rest is the same.
TEST_F(Ipvsadm, HelpAndVersionWinOverOtherWords) {
  const std::string version = "ipvsadm v1.31 2019/12/24 (compiled with popt and IPVS v1.2.1)\n";
  const std::string help = run({"-h"}).out;
  EXPECT_EQ(help.substr(0, version.size()), version);
  EXPECT_GT(help.size(), version.size());
  const std::string usage = "Try `ipvsadm -h' or 'ipvsadm --help' for more information.\n";
  struct Row {
    std::vector<std::string> arguments;
    int status;
    std::string out;
    std::string err;
  };
  const std::vector<Row> rows{
      {{"-h", "extra"}, 0, help, ""},
      {{"--help", "extra", "more"}, 0, help, ""},
      {{"-h", "-x"}, 0, help, ""},
      {{"-h", "-L"}, 0, help, ""},
      {{"-h", "--help"}, 0, help, ""},
      {{"-h", "--no-such"}, 0, help, ""},
      {{"-hv"}, 0, help, ""},
      {{"-hx"}, 0, help, ""},
      {{"-h", "--"}, 0, help, ""},
      {{"-h", "--", "x"}, 0, help, ""},
      {{"extra", "-h"}, 0, help, ""},
      {{"-v", "x"}, 0, version, ""},
      {{"--version", "-x"}, 0, version, ""},
      {{"-vh"}, 0, version, ""},
      {{"-h=3"}, 255, "", usage},
      {{"--help=x"}, 255, "", usage},
      {{"-x"}, 255, "", usage},
      {{"extra"}, 255, "", usage},
      {{"-L", "-h"}, 2, "", "invalid option `-h'\n"},
  };
  for (const Row& row : rows) {
    const Outcome outcome = run(row.arguments);
    const std::string line = testing::PrintToString(row.arguments);
    EXPECT_EQ(outcome.status, row.status) << line;
    EXPECT_EQ(outcome.out, row.out) << line;
    EXPECT_EQ(outcome.err, row.err) << line;
  }
}

// The original ends with a segmentation fault at a list of flags that consists only of commas.
TEST_F(Ipvsadm, SchedulerFlagsOfCommasAloneAreNone) {
  for (const std::string flags : {",", ",,"}) {
    EXPECT_EQ(run({"-A", "-t", "10.0.0.1:80", "-b", flags}).status, 0) << flags;
    EXPECT_EQ(run({"-D", "-t", "10.0.0.1:80"}).status, 0) << flags;
  }
}

}  // namespace
}  // namespace sluice::ipvs::text
