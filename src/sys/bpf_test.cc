// SPDX-License-Identifier: Apache-2.0
#include "sys/bpf.h"

#include <gtest/gtest.h>

SLUICE_BPF_OBJECT(refused);

namespace sluice::sys {
namespace {

TEST(VerifierReason, IsTheLastLineThatIsNoCount) {
  EXPECT_EQ(verifier_reason(
                "0: R1=ctx(off=0,imm=0) R10=fp0\n"
                "1: (71) r0 = *(u8 *)(r1 +0)\n"
                "invalid access to packet, off=0 size=1, R1(id=0,off=0,r=0)\n"
                "R1 offset is outside of the packet\n"
                "processed 2 insns (limit 1000000) max_states_per_insn 0 total_states 0 peak_states 0 mark_read 0\n"),
            "R1 offset is outside of the packet");
  EXPECT_EQ(verifier_reason("libbpf: failed to find valid kernel BTF\n"), "failed to find valid kernel BTF");
  EXPECT_EQ(verifier_reason("a reason\n\nverification time 5 usec\nstack depth 0\nprocessed 1 insns\n"), "a reason");
  EXPECT_EQ(verifier_reason(""), "");
  EXPECT_EQ(verifier_reason("no end of line"), "no end of line");
}

TEST(BpfObject, ARefusedProgramIsSaidToBeOneWithTheVerifiersReason) {
  auto object = BpfObject::open(SLUICE_BPF_IMAGE(refused));
  ASSERT_TRUE(object) << object.error().what;
  const auto loaded = object->load();
  ASSERT_FALSE(loaded);
  EXPECT_EQ(loaded.error().code, Errc::kInvalid);
  EXPECT_NE(loaded.error().what.find("load refused: the kernel refuses a program: "), std::string::npos)
      << loaded.error().what;
  EXPECT_NE(loaded.error().what.find("outside of the packet"), std::string::npos) << loaded.error().what;
  EXPECT_EQ(loaded.error().what.find('\n'), std::string::npos) << loaded.error().what;
}

TEST(BpfObject, WhatIsNoObjectIsSaidToBeNone) {
  const std::byte bytes[64] = {};
  const auto object = BpfObject::open({"nonsense", bytes});
  ASSERT_FALSE(object);
  EXPECT_NE(object.error().what.find("open nonsense"), std::string::npos) << object.error().what;
}

TEST(BpfObject, AMapThatIsNotThereIsSaidToBeMissing) {
  auto object = BpfObject::open(SLUICE_BPF_IMAGE(refused));
  ASSERT_TRUE(object) << object.error().what;
  EXPECT_FALSE(object->set_entries("nonesuch", 1));
  EXPECT_EQ(object->map("nonesuch"), -1);
  EXPECT_EQ(object->program("nonesuch"), -1);
}

}  // namespace
}  // namespace sluice::sys
