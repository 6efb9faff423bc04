// SPDX-License-Identifier: Apache-2.0
#include "base/yaml_scalar.h"

#include <gtest/gtest.h>

namespace sluice {
namespace {

struct Row {
  const char* text;
  ScalarKind kind;
  const char* json = "";
};

constexpr auto kNull = ScalarKind::kNull;
constexpr auto kBool = ScalarKind::kBool;
constexpr auto kInteger = ScalarKind::kInteger;
constexpr auto kFloat = ScalarKind::kFloat;
constexpr auto kString = ScalarKind::kString;

// Derived from the tables and rules of goyaml.v2's resolve.go.
constexpr Row kRows[] = {
    {"", kNull},
    {"~", kNull},
    {"null", kNull},
    {"Null", kNull},
    {"NULL", kNull},
    {"nULL", kString},
    {"y", kBool, "true"},
    {"Y", kBool, "true"},
    {"yes", kBool, "true"},
    {"YES", kBool, "true"},
    {"true", kBool, "true"},
    {"True", kBool, "true"},
    {"on", kBool, "true"},
    {"ON", kBool, "true"},
    {"n", kBool, "false"},
    {"N", kBool, "false"},
    {"no", kBool, "false"},
    {"No", kBool, "false"},
    {"False", kBool, "false"},
    {"Off", kBool, "false"},
    {"tRUE", kString},
    {"yEs", kString},
    {"t", kString},
    {"0", kInteger, "0"},
    {"-0", kInteger, "0"},
    {"80", kInteger, "80"},
    {"+5", kInteger, "5"},
    {"-999", kInteger, "-999"},
    {"0x1F", kInteger, "31"},
    {"0X1f", kInteger, "31"},
    {"-0x10", kInteger, "-16"},
    {"0b101", kInteger, "5"},
    {"0B11", kInteger, "3"},
    {"-0b11", kInteger, "-3"},
    {"0o17", kInteger, "15"},
    {"0O17", kInteger, "15"},
    {"017", kInteger, "15"},
    {"1_000", kInteger, "1000"},
    {"1__0_", kInteger, "10"},
    {"0x_ff", kInteger, "255"},
    {"-_1", kInteger, "-1"},
    {"_1", kString},
    {"0x", kString},
    {"0b2", kString},
    {"0xg", kString},
    {"+", kString},
    {"-", kString},
    {"--1", kString},
    {"+-1", kString},
    {"1 2", kString},
    {"9223372036854775807", kInteger, "9223372036854775807"},
    {"9223372036854775808", kInteger, "9223372036854775808"},
    {"18446744073709551615", kInteger, "18446744073709551615"},
    {"-9223372036854775808", kInteger, "-9223372036854775808"},
    {"+9223372036854775808", kFloat, "9.223372036854776e+18"},
    {"-9223372036854775809", kFloat, "-9.223372036854776e+18"},
    {"18446744073709551616", kFloat, "1.8446744073709552e+19"},
    {"08", kFloat, "8"},
    {"0_9", kFloat, "9"},
    {"80.0", kFloat, "80"},
    {"1.5", kFloat, "1.5"},
    {"1_0.5", kFloat, "10.5"},
    {"1.", kFloat, "1"},
    {".5", kFloat, "0.5"},
    {"+.5", kFloat, "0.5"},
    {"-.5e1", kFloat, "-5"},
    {"._5", kString},
    {"1e3", kFloat, "1000"},
    {"1E+3", kFloat, "1000"},
    {"1e15", kFloat, "1000000000000000"},
    {"1e16", kFloat, "1e+16"},
    {"1e21", kFloat, "1e+21"},
    {"1e-400", kFloat, "0"},
    {"1e400", kString},
    {"1e", kString},
    {"e1", kString},
    {"1.2.3", kString},
    {".", kString},
    {".e5", kString},
    {".inf", kFloat},
    {"+.INF", kFloat},
    {"-.Inf", kFloat},
    {".nan", kFloat},
    {".infinity", kString},
    {"inf", kString},
    {"nan", kString},
    {"Infinity", kString},
    {"0x1p-2", kString},
    {"2026-11-23", kString},
    {"2026-11-23T10:00:00Z", kString},
    {"1:30", kString},
    {"30s", kString},
    {"10.0.0.1", kString},
    {"172.30.0.041", kString},
    {"10.0.0.0/8", kString},
    {"0.0.0.0:10256", kString},
    {"fd00::1", kString},
    {"::", kString},
    {"<<", kString},
};

TEST(PlainScalar, ResolvesAsInGoYaml) {
  for (const Row& row : kRows) {
    const PlainScalar scalar = resolve_plain(row.text);
    EXPECT_EQ(scalar.kind, row.kind) << row.text;
    EXPECT_EQ(scalar.json(), row.json) << row.text;
  }
}

TEST(PlainScalar, AWholeNumberIsAlsoANumber) {
  EXPECT_EQ(resolve_plain("-16").number, -16.0);
  EXPECT_EQ(resolve_plain("0x10").number, 16.0);
}

}  // namespace
}  // namespace sluice
