// SPDX-License-Identifier: Apache-2.0
// Which engine is opened on the machine that the test runs on: with ip_vs or without.
#include "ipvs/engines/open_engine.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "ipvs/ebpf/ebpf_engine.h"
#include "ipvs/ebpf/test_net.h"

namespace sluice::ipvs::engines {
namespace {

TEST(OpenEngine, AutoTakesTheKernelsWhereThereIsOneAndOtherwiseOurs) {
  ebpf::mount_own_bpf_file_system();
  in_fresh_netns([] {
    const auto kernel = open_engine(EngineChoice::kKernel);
    const auto first = open_engine(EngineChoice::kAuto);
    ASSERT_TRUE(first) << first.error().what;
    EXPECT_EQ((*first)->name(), kernel ? "kernel" : "ebpf");
    const auto ours = open_engine(EngineChoice::kEbpf);
    ASSERT_TRUE(ours) << ours.error().what;
    EXPECT_EQ((*ours)->name(), "ebpf");
  });
}

TEST(OpenEngine, OursIsInUseOnceItHasAVirtualServer) {
  ebpf::mount_own_bpf_file_system();
  in_fresh_netns([] {
    const auto in_use = [] {
      const auto all = engines_in_use();
      return std::find(all.begin(), all.end(), EngineChoice::kEbpf) != all.end();
    };
    EXPECT_FALSE(in_use());
    const auto engine = open_engine(EngineChoice::kEbpf);
    ASSERT_TRUE(engine) << engine.error().what;
    EXPECT_FALSE(in_use()) << "opening it makes nothing";
    const VirtualServer server =
        VirtualServer::of(VirtualServerKey::of(Protocol::kTcp, *IpAddress::parse("10.0.0.1"), 80));
    const auto failures = (*engine)->apply(std::vector<Change>{AddVirtualServer{server}});
    ASSERT_TRUE(failures) << failures.error().what;
    EXPECT_TRUE(in_use());
    const auto removed = ebpf::EbpfEngine::remove();
    EXPECT_TRUE(removed) << removed.error().what;
    EXPECT_FALSE(in_use());
  });
}

}  // namespace
}  // namespace sluice::ipvs::engines
