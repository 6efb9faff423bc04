// SPDX-License-Identifier: Apache-2.0
#include "ipvs/engine_choice.h"

#include <gtest/gtest.h>

namespace sluice::ipvs {
namespace {

TEST(EngineChoice, EveryWordIsReadBack) {
  for (const auto& [word, choice] : kEngineWords) {
    EXPECT_EQ(to_string(choice), word);
    const auto parsed = parse_engine_choice(word);
    ASSERT_TRUE(parsed) << word;
    EXPECT_EQ(*parsed, choice);
  }
}

TEST(EngineChoice, AnotherWordIsRefusedWithThoseThereAre) {
  for (const char* word : {"", "Kernel", "bpf", "kernel "}) {
    const auto parsed = parse_engine_choice(word);
    ASSERT_FALSE(parsed) << word;
    EXPECT_EQ(parsed.error().code, Errc::kInvalid);
    EXPECT_NE(parsed.error().what.find("it is one of " + built_in_engines(", ") + ", auto"), std::string::npos)
        << parsed.error().what;
  }
}

TEST(EngineChoice, AutoAndWhatIsBuiltInCanBeOpened) {
  EXPECT_TRUE(check_built_in(EngineChoice::kAuto));
  std::size_t missing = 0;
  for (const auto& [word, choice] : kEngineWords) {
    const auto checked = check_built_in(choice);
    if (checked) continue;
    ++missing;
    EXPECT_EQ(checked.error().code, Errc::kUnsupported);
    EXPECT_NE(checked.error().what.find(word), std::string::npos) << checked.error().what;
  }
  EXPECT_EQ(missing + kBuiltInEngines.size() + 1, kEngineWords.size());
}

}  // namespace
}  // namespace sluice::ipvs
