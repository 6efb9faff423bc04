// SPDX-License-Identifier: Apache-2.0
// What can be tested without ip_vs; with it, the contract suite runs (engines/contract_test.cc).
#include "ipvs/kernel/kernel_engine.h"

#include <gtest/gtest.h>

#include <unistd.h>

#include <cerrno>
#include <fstream>
#include <string>

#include "ipvs/kernel/modules.h"

namespace sluice::ipvs::kernel {
namespace {

TEST(KernelEngine, OpensOrSaysWhichModuleIsMissing) {
  const auto engine = KernelEngine::open();
  if (engine) {
    EXPECT_TRUE((*engine)->info());
    return;
  }
  EXPECT_TRUE(engine.error().sys_errno == ENOPROTOOPT || engine.error().sys_errno == EPERM) << engine.error().what;
  if (engine.error().sys_errno == ENOPROTOOPT) {
    EXPECT_EQ(engine.error().code, Errc::kUnavailable);
    EXPECT_NE(engine.error().what.find("module ip_vs "), std::string::npos) << engine.error().what;
  }
}

TEST(KernelEngine, IsInUseOnceItHasAVirtualServer) {
  const std::string path = testing::TempDir() + "/sluice_ip_vs_" + std::to_string(::getpid());
  EXPECT_FALSE(KernelEngine::in_use(path)) << "the module is not loaded";
  // Linux 6.1, net/netfilter/ipvs/ip_vs_ctl.c, ip_vs_info_seq_show.
  const std::string titles =
      "IP Virtual Server version 1.2.1 (size=4096)\n"
      "Prot LocalAddress:Port Scheduler Flags\n"
      "  -> RemoteAddress:Port Forward Weight ActiveConn InActConn\n";
  std::ofstream(path) << titles;
  EXPECT_FALSE(KernelEngine::in_use(path));
  std::ofstream(path) << titles << "TCP  0A600001:0050 rr  \n";
  EXPECT_TRUE(KernelEngine::in_use(path));
  ::unlink(path.c_str());
}

TEST(LoadModule, ErrorsSayWhy) {
  const auto none = load_module("ip_vs_sluice_none");
  ASSERT_FALSE(none);
  EXPECT_NE(none.error().what.find("ip_vs_sluice_none"), std::string::npos) << none.error().what;
}

TEST(LoadModule, NeverPassesOnInvalidNames) {
  const auto odd = load_module("ip_vs_/../x y");
  ASSERT_FALSE(odd);
  EXPECT_NE(odd.error().what.find("there is no kernel module"), std::string::npos) << odd.error().what;
}

}  // namespace
}  // namespace sluice::ipvs::kernel
