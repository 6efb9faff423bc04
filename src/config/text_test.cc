// SPDX-License-Identifier: Apache-2.0
#include "config/text.h"

#include <fmt/format.h>
#include <gmock/gmock.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <sstream>

#include "config/fields.h"
#include "config/file.h"

namespace sluice::config {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;
using testing::Not;

// What `kube-proxy --write-config-to FILE` writes without any other flag.
constexpr std::string_view kDefault = R"(apiVersion: kubeproxy.config.k8s.io/v1alpha1
bindAddress: 0.0.0.0
bindAddressHardFail: false
clientConnection:
  acceptContentTypes: ""
  burst: 10
  contentType: application/vnd.kubernetes.protobuf
  kubeconfig: ""
  qps: 5
clusterCIDR: ""
configSyncPeriod: 15m0s
conntrack:
  maxPerCore: 32768
  min: 131072
  tcpBeLiberal: false
  tcpCloseWaitTimeout: 1h0m0s
  tcpEstablishedTimeout: 24h0m0s
  udpStreamTimeout: 0s
  udpTimeout: 0s
detectLocal:
  bridgeInterface: ""
  interfaceNamePrefix: ""
detectLocalMode: ClusterCIDR
enableProfiling: false
healthzBindAddress: 0.0.0.0:10256
hostnameOverride: ""
iptables:
  localhostNodePorts: true
  masqueradeAll: false
  masqueradeBit: 14
  minSyncPeriod: 1s
  syncPeriod: 30s
ipvs:
  excludeCIDRs: null
  minSyncPeriod: 0s
  scheduler: ""
  strictARP: false
  syncPeriod: 0s
  tcpFinTimeout: 0s
  tcpTimeout: 0s
  udpTimeout: 0s
kind: KubeProxyConfiguration
logging:
  flushFrequency: 5s
  format: text
  options:
    json:
      infoBufferSize: "0"
    text:
      infoBufferSize: "0"
  verbosity: 0
metricsBindAddress: 127.0.0.1:10249
mode: iptables
nftables:
  masqueradeAll: false
  masqueradeBit: 14
  minSyncPeriod: 0s
  syncPeriod: 0s
nodePortAddresses: null
oomScoreAdj: -999
portRange: ""
showHiddenMetricsForVersion: ""
winkernel:
  enableDSR: false
  forwardHealthCheckVip: false
  networkName: ""
  rootHnsEndpointName: ""
  sourceVip: ""
)";

ProxyConfig completed(ProxyConfig config) {
  keep_effective_blocks(config);
  apply_platform_defaults(config);
  return config;
}

TEST(Yaml, OfDefaultsIsByteForByteKubeProxys) {
  EXPECT_EQ(config_yaml(completed(default_config())), kDefault);
}

TEST(Yaml, OfNftablesCarriesItsOwnPeriodsAndPrimary) {
  ProxyConfig config;
  config.mode = "nftables";
  apply_defaults(config);
  const std::string text = config_yaml(completed(config));
  EXPECT_THAT(
      text,
      HasSubstr("nftables:\n  masqueradeAll: false\n  masqueradeBit: 14\n  minSyncPeriod: 1s\n  syncPeriod: 30s\n"));
  EXPECT_THAT(text, HasSubstr("  masqueradeBit: 14\n  minSyncPeriod: 0s\n  syncPeriod: 0s\nipvs:\n"));
  EXPECT_THAT(text, HasSubstr("nodePortAddresses:\n- primary\n"));
}

TEST(Yaml, ListsAndMapsAreBlocks) {
  ProxyConfig config = default_config();
  config.feature_gates = {{"B", true}, {"A", false}};
  config.logging.vmodule = {{"a*", 1}, {"b", 2}};
  config.windows_run_as_service = true;
  config.logging.options.json.split_stream = true;
  const std::string text = config_yaml(config);
  EXPECT_THAT(text, HasSubstr("\nfeatureGates:\n  A: false\n  B: true\nhealthz"));
  EXPECT_THAT(text,
              HasSubstr("  vmodule:\n  - filePattern: a*\n    verbosity: 1\n  - filePattern: b\n    verbosity: 2\n"));
  EXPECT_THAT(text, HasSubstr("\nwindowsRunAsService: true\n"));
  EXPECT_THAT(text, HasSubstr("    json:\n      infoBufferSize: \"0\"\n      splitStream: true\n"));
}

// The right side was printed by kubectl 1.20, whose YAML writer is kube-proxy's; the last two are our choice.
TEST(Yaml, StringsAreQuotedAsInKubernetes) {
  struct Row {
    std::string text, printed;
  };
  const Row rows[] = {
      {"plain", "plain"},
      {"two words", "two words"},
      {"[::]:10256", "'[::]:10256'"},
      {"::", "'::'"},
      {"::1", "::1"},
      {"fd00::/64", "fd00::/64"},
      {"true", "\"true\""},
      {"no", "\"no\""},
      {"15", "\"15\""},
      {"1.5", "\"1.5\""},
      {"null", "\"null\""},
      {"~", "\"~\""},
      {"1:20", "\"1:20\""},
      {"1:75", "1:75"},
      {"* star", "'* star'"},
      {"it's", "it's"},
      {"'quoted'", "'''quoted'''"},
      {"a: b", "'a: b'"},
      {"a #b", "'a #b'"},
      {"a#b", "a#b"},
      {"- a", "'- a'"},
      {"-a", "-a"},
      {"end:", "'end:'"},
      {" lead", "' lead'"},
      {"trail ", "'trail '"},
      {"---", "'---'"},
      {"@at", "'@at'"},
      {"%x", "'%x'"},
      {"\"", "'\"'"},
      {"\u00e9", "\u00e9"},
      {"0x1f", "\"0x1f\""},
      {"1e3", "\"1e3\""},
      {"?x", "?x"},
      {"? x", "'? x'"},
      {"=", "="},
      {"<<", "<<"},
      {"2001-01-01", "\"2001-01-01\""},
      {".5", "\".5\""},
      {"a,b", "a,b"},
      {"{a}", "'{a}'"},
      {".inf", "\".inf\""},
      {"1_000", "\"1_000\""},
      {"08", "\"08\""},
      {"+5", "\"+5\""},
      {"y", "\"y\""},
      {"T", "T"},
      {"!x", "'!x'"},
      {"&x", "'&x'"},
      {"|", "'|'"},
      {">", "'>'"},
      {"`x", "'`x'"},
      {"...", "'...'"},
      {"-", "'-'"},
      {"--", "--"},
      {"0.0.0.0:10256", "0.0.0.0:10256"},
      {"10.0.0.0/8", "10.0.0.0/8"},
      {".nan", "\".nan\""},
      {"-.inf", "\"-.inf\""},
      {"+.INF", "\"+.INF\""},
      {"0b101", "\"0b101\""},
      {"0o17", "\"0o17\""},
      {"1.", "\"1.\""},
      {"1:20:30.5", "\"1:20:30.5\""},
      {"_1", "_1"},
      {"012", "\"012\""},
      {"2001-01-01T00:00:00Z", "\"2001-01-01T00:00:00Z\""},
      {"a:b", "a:b"},
      {"a\tb", "\"a\\tb\""},
      {"", "\"\""},
      {"line\nbreak", "\"line\\nbreak\""},
  };
  for (const Row& row : rows) {
    ProxyConfig config;
    config.hostname_override = row.text;
    const std::string text = config_yaml(config);
    EXPECT_THAT(text, HasSubstr("\nhostnameOverride: " + row.printed + "\n"));
    const auto again = parse_config_text(text);
    ASSERT_TRUE(again) << row.text << ": " << again.error().what;
    EXPECT_EQ(again->proxy.hostname_override, row.text);
  }
}

// Gives every field a distinct value that is not its default; a new field is covered by its line in fields.h.
class Filler {
 public:
  void fill(bool& value) { value = true; }
  void fill(std::int32_t& value) { value = static_cast<std::int32_t>(next()); }
  void fill(std::uint32_t& value) { value = next(); }
  void fill(float& value) { value = static_cast<float>(next()) + 0.5F; }
  void fill(std::string& value) { value = "text-" + std::to_string(next()); }
  void fill(Duration& value) { value = std::chrono::milliseconds(next() * 1001); }
  void fill(FlushFrequency& value) { fill(value.value); }
  void fill(Quantity& value) { value.text = std::to_string(next()) + "Ki"; }
  void fill(std::map<std::string, bool>& value) { value = {{"GateA", true}, {"GateB", false}}; }
  template <typename T>
  void fill(std::optional<T>& value) {
    fill(value.emplace());
  }
  template <typename T>
  void fill(std::vector<T>& value) {
    value.resize(2);
    for (T& item : value) fill(item);
  }
  template <Described T>
  void fill(T& value) {
    for_each_field<T>([&](const auto& each) { fill(value.*each.member); });
  }

 private:
  std::uint32_t next() { return ++count_; }
  std::uint32_t count_ = 100;
};

TEST(Yaml, EveryFieldComesBackFromItsText) {
  ProxyConfig config;
  Filler().fill(config);
  const auto again = parse_config_text(config_yaml(config));
  ASSERT_TRUE(again) << again.error().what;
  EXPECT_EQ(again->strict_problems, "");
  EXPECT_EQ(again->proxy, config);
  ASSERT_FALSE(config == ProxyConfig{});
}

TEST(Json, EveryFieldComesBackFromItsText) {
  ProxyConfig config;
  Filler().fill(config);
  const auto again = parse_config_text(configz_json(config));
  ASSERT_TRUE(again) << again.error().what;
  EXPECT_EQ(again->strict_problems, "");
  EXPECT_EQ(again->proxy, config);
}

// As kube-proxy's, whose library distinguishes a list that was not given from an empty one.
TEST(Yaml, AnEmptyListIsPrintedAsItWasWritten) {
  struct Row {
    const char* written;
    const char* yaml;
    const char* json;
  };
  for (const Row& row :
       {Row{"", "null", "null"}, Row{"nodePortAddresses: null\nipvs: {excludeCIDRs: null}\n", "null", "null"},
        Row{"nodePortAddresses: []\nipvs: {excludeCIDRs: []}\n", "[]", "[]"}}) {
    const auto file =
        parse_config_text(fmt::format("apiVersion: {}\nkind: {}\n{}", kProxyApiVersion, kProxyKind, row.written));
    ASSERT_TRUE(file) << file.error().what;
    const ProxyConfig config = completed(file->proxy);
    EXPECT_THAT(config_yaml(config), HasSubstr(fmt::format("\nnodePortAddresses: {}\n", row.yaml)));
    EXPECT_THAT(config_yaml(config), HasSubstr(fmt::format("\n  excludeCIDRs: {}\n", row.yaml)));
    EXPECT_THAT(configz_json(config), HasSubstr(fmt::format(R"("nodePortAddresses":{},)", row.json)));
    EXPECT_THAT(configz_json(config), HasSubstr(fmt::format(R"("excludeCIDRs":{},)", row.json)));
    const auto again = parse_config_text(config_yaml(config));
    ASSERT_TRUE(again);
    EXPECT_EQ(again->proxy, config);
  }
}

// Upstream: TestConfigz.
TEST(Json, IsTheExternalObjectWithKindAndVersion) {
  const std::string text = configz_json(completed(default_config()));
  EXPECT_THAT(text,
              testing::StartsWith(R"({"apiVersion":"kubeproxy.config.k8s.io/v1alpha1","bindAddress":"0.0.0.0",)"));
  EXPECT_THAT(text, HasSubstr(R"("kind":"KubeProxyConfiguration")"));
  EXPECT_THAT(
      text,
      HasSubstr(
          R"("iptables":{"localhostNodePorts":true,"masqueradeAll":false,"masqueradeBit":14,"minSyncPeriod":"1s","syncPeriod":"30s"})"));
  EXPECT_THAT(text, HasSubstr(R"("nodePortAddresses":null)"));
  EXPECT_THAT(text, Not(HasSubstr("featureGates")));
}

template <Described T>
void expect_sorted(std::string_view where) {
  std::vector<std::string_view> names;
  for_each_field<T>([&](const auto& each) { names.push_back(each.name); });
  EXPECT_TRUE(std::is_sorted(names.begin(), names.end())) << where;
}

TEST(Fields, AreListedInAlphabeticalOrder) {
  expect_sorted<ProxyConfig>("top");
  expect_sorted<ClientConnection>("clientConnection");
  expect_sorted<Logging>("logging");
  expect_sorted<LogStreams>("options");
  expect_sorted<IptablesConfig>("iptables");
  expect_sorted<IpvsConfig>("ipvs");
  expect_sorted<NftablesConfig>("nftables");
  expect_sorted<ConntrackConfig>("conntrack");
  expect_sorted<WinkernelConfig>("winkernel");
  expect_sorted<DetectLocal>("detectLocal");
}

TEST(WriteConfig, WritesTheFileOrSaysWhyNot) {
  const std::string path = testing::TempDir() + "sluice-write-config-test.yaml";
  ASSERT_TRUE(write_config(completed(default_config()), path));
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  std::remove(path.c_str());
  EXPECT_EQ(text.str(), kDefault);
  const auto refused = write_config(default_config(), "/proc/nowhere/config.yaml");
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().what, HasSubstr("/proc/nowhere/config.yaml"));
}

}  // namespace
}  // namespace sluice::config
