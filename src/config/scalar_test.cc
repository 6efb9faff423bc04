// SPDX-License-Identifier: Apache-2.0
#include "config/scalar.h"

#include <gtest/gtest.h>

#include <array>
#include <limits>

namespace sluice::config {
namespace {

using namespace std::chrono_literals;

TEST(Duration, IsReadAsInGo) {
  struct Row {
    std::string_view text;
    Duration wanted;
  };
  constexpr std::array kRows{
      Row{"0", 0ns},
      Row{"0s", 0ns},
      Row{"30s", 30s},
      Row{"1h2m3s", 3723s},
      Row{"1.5h", 90min},
      Row{"-10ms", -10ms},
      Row{"+5m", 5min},
      Row{".5s", 500ms},
      Row{"5.s", 5s},
      Row{"1\u00b5s", 1us},
      Row{"1\u03bcs", 1us},
      Row{"1us", 1us},
      Row{"1s1s", 2s},
      Row{"0.000000001s", 1ns},
      Row{"24h0m0s", 24h},
      Row{"9223372036854775807ns", Duration(std::numeric_limits<std::int64_t>::max())},
      Row{"-9223372036854775808ns", Duration(std::numeric_limits<std::int64_t>::min())},
      Row{"0.100000000000000000000h", 6min},
  };
  for (const Row& row : kRows) {
    const auto got = parse_duration(row.text);
    ASSERT_TRUE(got) << row.text << ": " << got.error().what;
    EXPECT_EQ(*got, row.wanted) << row.text;
  }
}

TEST(Duration, MalformedTextIsRefusedWithGosTexts) {
  struct Row {
    std::string_view text;
    std::string_view error;
  };
  constexpr std::array kRows{
      Row{"", R"(time: invalid duration "")"},
      Row{"-", R"(time: invalid duration "-")"},
      Row{"5", R"(time: missing unit in duration "5")"},
      Row{"5d", R"(time: unknown unit "d" in duration "5d")"},
      Row{"s", R"(time: invalid duration "s")"},
      Row{".s", R"(time: invalid duration ".s")"},
      Row{" 5s", R"(time: invalid duration " 5s")"},
      Row{"5s ", R"(time: unknown unit "s " in duration "5s ")"},
      Row{"9223372036854775808ns", R"(time: invalid duration "9223372036854775808ns")"},
      Row{"-9223372036854775808ns9223372036854775808ns",
          R"(time: invalid duration "-9223372036854775808ns9223372036854775808ns")"},
      Row{"99999999999999999999s", R"(time: invalid duration "99999999999999999999s")"},
      Row{"3000000h", R"(time: invalid duration "3000000h")"},
  };
  for (const Row& row : kRows) {
    const auto got = parse_duration(row.text);
    ASSERT_FALSE(got) << row.text;
    EXPECT_EQ(got.error().what, row.error);
  }
}

TEST(Duration, IsPrintedAsInGo) {
  struct Row {
    Duration duration;
    std::string_view wanted;
  };
  constexpr std::array kRows{
      Row{0ns, "0s"},
      Row{1ns, "1ns"},
      Row{1500ns, "1.5\u00b5s"},
      Row{2ms, "2ms"},
      Row{30s, "30s"},
      Row{15min, "15m0s"},
      Row{24h, "24h0m0s"},
      Row{3723s + 500ms, "1h2m3.5s"},
      Row{-90s, "-1m30s"},
      Row{250ms, "250ms"},
      Row{1s + 1ns, "1.000000001s"},
      Row{60s + 40ms, "1m0.04s"},
      Row{Duration(std::numeric_limits<std::int64_t>::min()), "-2562047h47m16.854775808s"},
  };
  for (const Row& row : kRows) {
    EXPECT_EQ(format_duration(row.duration), row.wanted);
    const auto again = parse_duration(row.wanted);
    ASSERT_TRUE(again) << row.wanted;
    EXPECT_EQ(*again, row.duration) << row.wanted;
  }
}

TEST(Integer, HasGosBasesAndLimits) {
  struct Row {
    std::string_view text;
    std::optional<std::int64_t> wanted;
  };
  constexpr std::array kRows{
      Row{"0", 0},
      Row{"-999", -999},
      Row{"+7", 7},
      Row{"0x1F", 31},
      Row{"0b101", 5},
      Row{"0o17", 15},
      Row{"017", 15},
      Row{"0x_ff", 255},
      Row{"", std::nullopt},
      Row{"-", std::nullopt},
      Row{"1_000", std::nullopt},
      Row{"08", std::nullopt},
      Row{"1.0", std::nullopt},
      Row{"0x", std::nullopt},
      Row{"5 ", std::nullopt},
      Row{"9223372036854775807", std::numeric_limits<std::int64_t>::max()},
      Row{"9223372036854775808", std::nullopt},
      Row{"-9223372036854775808", std::numeric_limits<std::int64_t>::min()},
  };
  for (const Row& row : kRows) EXPECT_EQ(parse_integer(row.text), row.wanted) << row.text;
}

TEST(HostPort, IsSplitAsInGo) {
  struct Row {
    std::string_view text;
    bool good;
    std::string_view host;
    std::string_view port;
  };
  constexpr std::array kRows{
      Row{"1.2.3.4:80", true, "1.2.3.4", "80"},
      Row{"[::1]:80", true, "::1", "80"},
      Row{":80", true, "", "80"},
      Row{"host:", true, "host", ""},
      Row{"[]:80", true, "", "80"},
      Row{"1.2.3.4", false, "", ""},
      Row{"::1", false, "", ""},
      Row{"[::1]", false, "", ""},
      Row{"", false, "", ""},
      Row{"[::1:80", false, "", ""},
      Row{"[:80", false, "", ""},
      Row{"a]:80", false, "", ""},
  };
  for (const Row& row : kRows) {
    const auto got = split_host_port(row.text);
    ASSERT_EQ(got.has_value(), row.good) << row.text;
    if (!got) continue;
    EXPECT_EQ(got->host, row.host) << row.text;
    EXPECT_EQ(got->port, row.port) << row.text;
  }
}

// Upstream: TestAppendPortIfNeeded.
TEST(HostPort, PortIsAppendedToBareAddressesOnly) {
  EXPECT_EQ(append_port_if_needed("1.2.3.4", 10), "1.2.3.4:10");
  EXPECT_EQ(append_port_if_needed("1.2.3.4:80", 10), "1.2.3.4:80");
  EXPECT_EQ(append_port_if_needed("2001:db8::1", 10), "[2001:db8::1]:10");
  EXPECT_EQ(append_port_if_needed("[2001:db8::1]:80", 10), "[2001:db8::1]:80");
  EXPECT_EQ(append_port_if_needed("", 10), "");
  EXPECT_EQ(append_port_if_needed("host", 10), "host");
}

TEST(ListenAddress, NeedsAnAddressAndAPort) {
  EXPECT_EQ(parse_listen_address("[::]:10256"), (ListenAddress{IpAddress(), 10256}));
  EXPECT_EQ(parse_listen_address("127.0.0.1:1"), (ListenAddress{IpAddress::from_v4(0x7f000001), 1}));
  for (const char* text :
       {"", "127.0.0.1", "localhost:80", "127.0.0.1:0", "127.0.0.1:65536", "127.0.0.1:", "127.0.0.1:8x"}) {
    EXPECT_FALSE(parse_listen_address(text)) << text;
  }
}

TEST(Aggregate, PutsSeveralInBracketsAndDropsRepetitions) {
  EXPECT_EQ(aggregate({"a"}), "a");
  EXPECT_EQ(aggregate({"a", "b", "a"}), "[a, b]");
  EXPECT_EQ(aggregate({"a", "a"}), "a");
}

TEST(Quoted, EscapesWhatJsonMustEscape) {
  EXPECT_EQ(quoted("a\"b\\c\n\t\x01\u00e9"), "\"a\\\"b\\\\c\\n\\t\\u0001\u00e9\"");
}

}  // namespace
}  // namespace sluice::config
