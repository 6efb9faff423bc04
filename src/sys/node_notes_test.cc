// SPDX-License-Identifier: Apache-2.0
#include "sys/node_notes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "sys/test_netns.h"

namespace sluice::sys {
namespace {

using testing::HasSubstr;

NodeNotes all(const NotesAccess& access) {
  const auto notes = access.read();
  EXPECT_TRUE(notes) << notes.error().what;
  return notes ? *notes : NodeNotes{{"unreadable", {}}};
}

TEST(NodeNotes, AreReadBackAndShownByNft) {
  in_fresh_netns([] {
    const NotesAccess notes = kernel_notes();
    EXPECT_EQ(all(notes), NodeNotes());
    const NodeNotes wanted{{"settings", {"net/ipv4/ip_forward 0 1 ipvs", "b 1 2 x"}}, {"folders", {"/var/lib/sluice"}}};
    ASSERT_TRUE(notes.write(wanted));
    EXPECT_EQ(all(notes), wanted);
    EXPECT_THAT(run({"nft", "list", "ruleset"}), HasSubstr("comment \"net/ipv4/ip_forward 0 1 ipvs\""));
  });
}

TEST(NodeNotes, OfOneKindAreReplacedAndTheLastRemovesTheTable) {
  in_fresh_netns([] {
    const NotesAccess notes = kernel_notes();
    ASSERT_TRUE(replace_notes(notes, "settings", {"a"}));
    ASSERT_TRUE(replace_notes(notes, "folders", {"/x", "/y"}));
    ASSERT_TRUE(replace_notes(notes, "settings", {"b"}));
    EXPECT_EQ(all(notes), (NodeNotes{{"folders", {"/x", "/y"}}, {"settings", {"b"}}}));
    ASSERT_TRUE(replace_notes(notes, "folders", {}));
    ASSERT_TRUE(replace_notes(notes, "settings", {}));
    EXPECT_EQ(run({"nft", "list", "tables"}), "");
    ASSERT_TRUE(replace_notes(notes, "settings", {})) << "without any";
  });
}

TEST(NodeNotes, TextsThatWouldBeCutAreRefused) {
  in_fresh_netns([] {
    const NotesAccess notes = kernel_notes();
    const std::string longest(kNoteBytesMax, 'x');
    ASSERT_TRUE(notes.write({{"k", {longest}}}));
    EXPECT_EQ(all(notes), (NodeNotes{{"k", {longest}}}));
    const auto refused = notes.write({{"k", {longest + "x"}}});
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, Errc::kInvalid);
  });
}

TEST(NodeNotes, EndWithTheNamespace) {
  in_fresh_netns([] { ASSERT_TRUE(kernel_notes().write({{"k", {"x"}}})); });
  in_fresh_netns([] { EXPECT_EQ(all(kernel_notes()), NodeNotes()); });
}

}  // namespace
}  // namespace sluice::sys
