// SPDX-License-Identifier: Apache-2.0
#include "base/file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <fstream>

namespace sluice {
namespace {

TEST(BaseName, IsWhatStandsBehindTheLastSlash) {
  EXPECT_EQ(base_name("/usr/sbin/ipvsadm"), "ipvsadm");
  EXPECT_EQ(base_name("./ipvsadm-save"), "ipvsadm-save");
  EXPECT_EQ(base_name("ipvsadm"), "ipvsadm");
  EXPECT_EQ(base_name("/usr/sbin/"), "");
  EXPECT_EQ(base_name(""), "");
}

TEST(ReadFile, ReturnsAllOfItAndNamesErrors) {
  const std::filesystem::path folder = testing::TempDir() + "sluice-file-test";
  std::filesystem::create_directory(folder);
  const std::string path = folder / "text";
  const std::string content = std::string(50000, 'x') + '\0' + "end\n";
  std::ofstream(path) << content;

  const auto whole = read_file(path, content.size());
  ASSERT_TRUE(whole);
  EXPECT_EQ(*whole, content);
  const auto longer = read_file(path, content.size() - 1);
  ASSERT_FALSE(longer);
  EXPECT_EQ(longer.error().code, Errc::kExhausted);
  EXPECT_EQ(longer.error().what, path + ": longer than 50004 bytes");
  const auto absent = read_file(path + ".absent", 1);
  ASSERT_FALSE(absent);
  EXPECT_EQ(absent.error().code, Errc::kNotFound);
  EXPECT_EQ(absent.error().what, "open " + path + ".absent: No such file or directory");
  const auto is_folder = read_file(folder, 1);
  ASSERT_FALSE(is_folder);
  EXPECT_EQ(is_folder.error().code, Errc::kUnavailable);
  EXPECT_EQ(is_folder.error().sys_errno, EISDIR);

  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace sluice
