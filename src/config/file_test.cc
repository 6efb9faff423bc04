// SPDX-License-Identifier: Apache-2.0
#include "config/file.h"

#include <gmock/gmock.h>

#include <cstdlib>
#include <fstream>
#include <random>

namespace sluice::config {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::HasSubstr;

const std::string kHead = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n";
const std::string kSluiceHead = "apiVersion: sluice.dev/v1alpha1\nkind: SluiceConfiguration\n";

// What kubeadm of 1.36 writes into the ConfigMap kube-proxy: the Go struct as it is, without kube-proxy's defaults.
constexpr std::string_view kKubeadm136 = R"(apiVersion: kubeproxy.config.k8s.io/v1alpha1
bindAddress: 0.0.0.0
bindAddressHardFail: false
clientConnection:
  acceptContentTypes: ""
  burst: 0
  contentType: ""
  kubeconfig: /var/lib/kube-proxy/kubeconfig.conf
  qps: 0
clusterCIDR: 10.244.0.0/16
configSyncPeriod: 0s
conntrack:
  maxPerCore: null
  min: null
  tcpBeLiberal: false
  tcpCloseWaitTimeout: null
  tcpEstablishedTimeout: null
  udpStreamTimeout: 0s
  udpTimeout: 0s
detectLocal:
  bridgeInterface: ""
  interfaceNamePrefix: ""
detectLocalMode: ""
enableProfiling: false
healthzBindAddress: ""
hostnameOverride: ""
iptables:
  localhostNodePorts: null
  masqueradeAll: false
  masqueradeBit: null
  minSyncPeriod: 0s
  syncPeriod: 0s
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
  flushFrequency: 0
  options:
    json:
      infoBufferSize: "0"
    text:
      infoBufferSize: "0"
  verbosity: 0
metricsBindAddress: ""
mode: ""
nftables:
  masqueradeAll: false
  masqueradeBit: null
  minSyncPeriod: 0s
  syncPeriod: 0s
nodePortAddresses: null
oomScoreAdj: null
portRange: ""
showHiddenMetricsForVersion: ""
winkernel:
  enableDSR: false
  forwardHealthCheckVip: false
  networkName: ""
  rootHnsEndpointName: ""
  sourceVip: ""
)";

// The same of 1.20, with its field for mode userspace.
constexpr std::string_view kKubeadm120 = R"(apiVersion: kubeproxy.config.k8s.io/v1alpha1
bindAddress: 0.0.0.0
bindAddressHardFail: false
clientConnection:
  acceptContentTypes: ""
  burst: 0
  contentType: ""
  kubeconfig: /var/lib/kube-proxy/kubeconfig.conf
  qps: 0
clusterCIDR: 10.244.0.0/16
configSyncPeriod: 0s
conntrack:
  maxPerCore: null
  min: null
  tcpCloseWaitTimeout: null
  tcpEstablishedTimeout: null
detectLocalMode: ""
enableProfiling: false
healthzBindAddress: ""
hostnameOverride: ""
iptables:
  masqueradeAll: false
  masqueradeBit: null
  minSyncPeriod: 0s
  syncPeriod: 0s
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
metricsBindAddress: ""
mode: ""
nodePortAddresses: null
oomScoreAdj: null
portRange: ""
showHiddenMetricsForVersion: ""
udpIdleTimeout: 0s
winkernel:
  enableDSR: false
  networkName: ""
  sourceVip: ""
)";

ConfigFile parsed(const std::string& text) {
  auto file = parse_config_text(text);
  EXPECT_TRUE(file) << (file ? "" : file.error().what);
  return file ? *file : ConfigFile{};
}

ProxyConfig completed(const std::string& text) {
  ProxyConfig config = parsed(text).proxy;
  apply_defaults(config);
  keep_effective_blocks(config);
  return config;
}

std::string error_of(const std::string& text) {
  const auto file = parse_config_text(text);
  return file ? "no error" : file.error().what;
}

TEST(Kubeadm, FileOf136MeansDefaults) {
  ProxyConfig wanted = default_config();
  wanted.client_connection.kubeconfig = "/var/lib/kube-proxy/kubeconfig.conf";
  wanted.cluster_cidr = "10.244.0.0/16";
  EXPECT_EQ(completed(std::string(kKubeadm136)), wanted);
  EXPECT_EQ(parsed(std::string(kKubeadm136)).strict_problems, "");
}

TEST(Kubeadm, FileOf120MeansDefaultsAndItsOldFieldIsReported) {
  ProxyConfig wanted = default_config();
  wanted.client_connection.kubeconfig = "/var/lib/kube-proxy/kubeconfig.conf";
  wanted.cluster_cidr = "10.244.0.0/16";
  EXPECT_EQ(completed(std::string(kKubeadm120)), wanted);
  EXPECT_EQ(parsed(std::string(kKubeadm120)).strict_problems, "unknown field \"udpIdleTimeout\" (line 42)");
}

// Upstream: TestDefaultsKubeProxyConfiguration.
TEST(Defaults, AreThoseOfKubeProxy) {
  const ProxyConfig config = default_config();
  EXPECT_EQ(config.bind_address, "0.0.0.0");
  EXPECT_EQ(config.healthz_bind_address, "0.0.0.0:10256");
  EXPECT_EQ(config.metrics_bind_address, "127.0.0.1:10249");
  EXPECT_EQ(config.client_connection.content_type, "application/vnd.kubernetes.protobuf");
  EXPECT_EQ(config.client_connection.qps, 5.0F);
  EXPECT_EQ(config.client_connection.burst, 10);
  EXPECT_EQ(config.logging.format, "text");
  EXPECT_EQ(config.logging.flush_frequency.value, 5s);
  EXPECT_EQ(config.iptables.masquerade_bit, 14);
  EXPECT_EQ(config.nftables.masquerade_bit, 14);
  EXPECT_EQ(config.iptables.localhost_node_ports, true);
  EXPECT_EQ(config.oom_score_adj, -999);
  EXPECT_EQ(config.conntrack.max_per_core, 32768);
  EXPECT_EQ(config.conntrack.min, 131072);
  EXPECT_EQ(config.conntrack.tcp_established_timeout, 24h);
  EXPECT_EQ(config.conntrack.tcp_close_wait_timeout, 1h);
  EXPECT_EQ(config.config_sync_period, 15min);
  EXPECT_EQ(config.mode, "");
  EXPECT_EQ(config.detect_local_mode, "");
}

TEST(Defaults, PeriodsAreThoseOfTheModesBlock) {
  struct Row {
    std::string text;
    SyncPeriods wanted;
  };
  const Row rows[] = {
      {"mode: \"\"\n", {30s, 1s}},
      {"mode: iptables\niptables: {syncPeriod: 60s, minSyncPeriod: 10s}\nipvs: {syncPeriod: 5s}\n", {60s, 10s}},
      {"mode: iptables\niptables: {minSyncPeriod: 0s}\n", {30s, 1s}},
      {"mode: ipvs\n", {30s, 0s}},
      {"mode: ipvs\nipvs: {syncPeriod: 7s, minSyncPeriod: 3s}\niptables: {syncPeriod: 60s}\n", {7s, 3s}},
      {"mode: nftables\n", {30s, 1s}},
      {"mode: nftables\nnftables: {syncPeriod: 9s, minSyncPeriod: 2s}\n", {9s, 2s}},
  };
  for (const Row& row : rows) EXPECT_EQ(sync_periods(completed(kHead + row.text)), row.wanted) << row.text;
}

TEST(Defaults, MasqueradingIsThatOfTheModesBlock) {
  const std::string iptables = "iptables: {masqueradeAll: true, masqueradeBit: 3}\n";
  const std::string nftables = "nftables: {masqueradeAll: true, masqueradeBit: 5}\n";
  EXPECT_TRUE(masquerade_all(completed(kHead + iptables)));
  EXPECT_TRUE(masquerade_all(completed(kHead + "mode: ipvs\n" + iptables)));
  EXPECT_FALSE(masquerade_all(completed(kHead + "mode: nftables\n" + iptables)));
  EXPECT_TRUE(masquerade_all(completed(kHead + "mode: nftables\n" + nftables)));
  EXPECT_FALSE(masquerade_all(completed(kHead + "mode: ipvs\n" + nftables)));
  EXPECT_EQ(masquerade_bit(completed(kHead + "mode: ipvs\n" + iptables + nftables)), 3);
  EXPECT_EQ(masquerade_bit(completed(kHead + "mode: nftables\n" + iptables + nftables)), 5);
}

// Upstream: Test_platformApplyDefaults.
TEST(PlatformDefaults, FillModeAndDetectLocalMode) {
  struct Row {
    std::string mode, detect, wanted_mode, wanted_detect;
  };
  const Row rows[] = {
      {"", "", "iptables", "ClusterCIDR"},
      {"ipvs", "", "ipvs", "ClusterCIDR"},
      {"", "NodeCIDR", "iptables", "NodeCIDR"},
      {"nftables", "BridgeInterface", "nftables", "BridgeInterface"},
      {"iptables", "InterfaceNamePrefix", "iptables", "InterfaceNamePrefix"},
  };
  for (const Row& row : rows) {
    ProxyConfig config = default_config();
    config.mode = row.mode;
    config.detect_local_mode = row.detect;
    apply_platform_defaults(config);
    EXPECT_EQ(config.mode, row.wanted_mode);
    EXPECT_EQ(config.detect_local_mode, row.wanted_detect);
  }
}

TEST(PlatformDefaults, NftablesListensOnPrimaryUnlessConfigured) {
  ProxyConfig config = default_config();
  config.mode = "nftables";
  apply_platform_defaults(config);
  EXPECT_THAT(items(config.node_port_addresses), ElementsAre("primary"));
  config.node_port_addresses = std::vector<std::string>{"10.0.0.0/8"};
  apply_platform_defaults(config);
  EXPECT_THAT(items(config.node_port_addresses), ElementsAre("10.0.0.0/8"));
}

// Upstream: TestLoadConfig.
TEST(File, BindAddressDecidesTheServersAddresses) {
  struct Row {
    std::string name, text, healthz, metrics;
  };
  const Row rows[] = {
      {"absent", "", "0.0.0.0:10256", "127.0.0.1:10249"},
      {"all of IPv4", "bindAddress: 0.0.0.0\n", "0.0.0.0:10256", "127.0.0.1:10249"},
      {"one of IPv4", "bindAddress: 9.8.7.6\n", "0.0.0.0:10256", "127.0.0.1:10249"},
      {"all of IPv6", "bindAddress: \"::\"\n", "[::]:10256", "[::1]:10249"},
      {"one of IPv6", "bindAddress: 2001:db8::1\n", "[::]:10256", "[::1]:10249"},
      {"given with ports", "healthzBindAddress: 1.2.3.4:12345\nmetricsBindAddress: 2.3.4.5:23456\n", "1.2.3.4:12345",
       "2.3.4.5:23456"},
      {"given without", "healthzBindAddress: 1.2.3.4\nmetricsBindAddress: fd00::5\n", "1.2.3.4:10256",
       "[fd00::5]:10249"},
      {"given against the family", "bindAddress: \"::\"\nmetricsBindAddress: 127.0.0.1\n", "[::]:10256",
       "127.0.0.1:10249"},
  };
  for (const Row& row : rows) {
    const ProxyConfig config = completed(kHead + row.text);
    EXPECT_EQ(config.healthz_bind_address, row.healthz) << row.name;
    EXPECT_EQ(config.metrics_bind_address, row.metrics) << row.name;
  }
}

TEST(File, ListsMapsAndNestedBlocksAreRead) {
  const ProxyConfig config = completed(kHead + R"(
featureGates: {AllowServiceExternalIPs: false, X: yes}
nodePortAddresses:
- 10.20.30.40/16
- fd00:1::5/64
logging:
  vmodule:
  - filePattern: gopher*
    verbosity: 3
  options: {text: {infoBufferSize: 64Ki, splitStream: true}}
clientConnection: {qps: 7.5}
conntrack: {maxPerCore: 0, tcpEstablishedTimeout: 0s}
)");
  EXPECT_EQ(config.feature_gates, (std::map<std::string, bool>{{"AllowServiceExternalIPs", false}, {"X", true}}));
  EXPECT_THAT(items(config.node_port_addresses), ElementsAre("10.20.30.40/16", "fd00:1::5/64"));
  EXPECT_THAT(config.logging.vmodule, ElementsAre(VerbosityPattern{"gopher*", 3}));
  EXPECT_EQ(config.logging.options.text.info_buffer_size.text, "64Ki");
  EXPECT_TRUE(config.logging.options.text.split_stream);
  EXPECT_EQ(config.client_connection.qps, 7.5F);
  EXPECT_EQ(config.conntrack.max_per_core, 0);  // a zero that is said is not a default
  EXPECT_EQ(config.conntrack.tcp_established_timeout, 0s);
}

TEST(File, MayBeJson) {
  const ProxyConfig config = completed(
      "{\n\t\"kind\":\"KubeProxyConfiguration\",\"apiVersion\":\"kubeproxy.config.k8s.io/v1alpha1\",\n"
      "\t\"mode\":\"ipvs\",\"ipvs\":{\"excludeCIDRs\":[\"10.0.0.0/8\"],\"strictARP\":true,\"minSyncPeriod\":\"5s\"},\n"
      "\t\"oomScoreAdj\":-5,\"nodePortAddresses\":null\n}\n");
  EXPECT_EQ(config.mode, "ipvs");
  EXPECT_THAT(items(config.ipvs.exclude_cidrs), ElementsAre("10.0.0.0/8"));
  EXPECT_TRUE(config.ipvs.strict_arp);
  EXPECT_EQ(config.oom_score_adj, -5);
  EXPECT_EQ(sync_periods(config).min, 5s);
}

TEST(File, UnknownAndRepeatedFieldsAreReportedWithTheirLinesAndTolerated) {
  const ConfigFile file =
      parsed(kHead + "mode: ipvs\nbogus: {a: 1}\niptables:\n  masqueradeBits: 2\nmode: nftables\nMode: x\n");
  EXPECT_EQ(file.proxy.mode, "nftables");
  EXPECT_EQ(file.strict_problems,
            "unknown field \"bogus\" (line 4), unknown field \"iptables.masqueradeBits\" (line 6), repeated field "
            "\"mode\" (line 7), "
            "unknown field \"Mode\" (line 8)");
}

// Upstream: TestLoadConfigFailures, and every type of field with values that it refuses.
TEST(File, FaultsAreRefusedWithFieldAndLine) {
  struct Row {
    std::string name, text, fragment;
  };
  const Row rows[] = {
      {"garbage", "Lorem ipsum dolor sit amet",
       "line 1: a KubeProxyConfiguration is wanted, not the text \"Lorem ipsum"},
      {"nothing", "", "there is no KubeProxyConfiguration in it"},
      {"only a comment", "# nothing\n", "there is no KubeProxyConfiguration in it"},
      {"wrong kind", "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: Pod\n",
       R"(no kind "Pod" is registered for version "kubeproxy.config.k8s.io/v1alpha1")"},
      {"wrong version", "apiVersion: kubeproxy.config.k8s.io/v1beta9\nkind: KubeProxyConfiguration\n",
       R"(no kind "KubeProxyConfiguration" is registered for version "kubeproxy.config.k8s.io/v1beta9")"},
      {"no kind", "mode: ipvs\n", R"(no kind "" is registered)"},
      {"unquoted ::", kHead + "bindAddress: ::\n", "line 3: "},
      {"open bracket", kHead + "nodePortAddresses: [1, 2\n", "line 4: "},
      {"number for a text", kHead + "hostnameOverride: 14\n",
       "hostnameOverride (line 3): a text (in quotes) is wanted, not the number 14"},
      {"truth for a text", kHead + "mode: yes\n",
       "mode (line 3): a text (in quotes) is wanted, not the truth value yes"},
      {"list for a text", kHead + "clusterCIDR: [10.0.0.0/8]\n", "clusterCIDR (line 3): a text is wanted, not a list"},
      {"text for a number", kHead + "iptables:\n  masqueradeBit: \"14\"\n",
       "iptables.masqueradeBit (line 4): a whole number is wanted, not the text \"14\""},
      {"fraction for a whole number", kHead + "oomScoreAdj: 1.5\n",
       "oomScoreAdj (line 3): a whole number is wanted, not the number 1.5"},
      {"number too large", kHead + "oomScoreAdj: 2147483648\n",
       "oomScoreAdj (line 3): 2147483648 is out of range: -2147483648 to 2147483647"},
      {"negative for unsigned", kHead + "logging: {verbosity: -1}\n",
       "logging.verbosity (line 3): -1 is out of range: 0 to 4294967295"},
      {"text for a truth value", kHead + "enableProfiling: \"true\"\n",
       "enableProfiling (line 3): true or false is wanted, not the text \"true\""},
      {"number for a duration", kHead + "ipvs:\n  syncPeriod: 30\n", "ipvs.syncPeriod (line 4): a duration"},
      {"nonsense for a duration", kHead + "configSyncPeriod: 5d\n",
       R"(configSyncPeriod (line 3): time: unknown unit "d" in duration "5d")"},
      {"text for a list", kHead + "nodePortAddresses: primary\n",
       "nodePortAddresses (line 3): a list is wanted, not the text \"primary\""},
      {"number in a list", kHead + "nodePortAddresses:\n- 10.0.0.0/8\n- 5\n",
       "nodePortAddresses[1] (line 5): a text (in quotes) is wanted, not the number 5"},
      {"text for a block", kHead + "conntrack: none\n",
       "conntrack (line 3): a mapping is wanted, not the text \"none\""},
      {"text for a gate", kHead + "featureGates:\n  A: maybe\n", "featureGates.A (line 4): true or false is wanted"},
      {"text for a flush", kHead + "logging: {flushFrequency: soon}\n",
       "logging.flushFrequency (line 3): time: invalid duration \"soon\""},
      {"nonsense for a quantity", kHead + "logging: {options: {json: {infoBufferSize: 5x}}}\n",
       "logging.options.json.infoBufferSize (line 3): a quantity is wanted"},
      {"deep nesting", kHead + "mode: " + std::string(100'000, '['), "line "},
  };
  for (const Row& row : rows) EXPECT_THAT(error_of(row.text), HasSubstr(row.fragment)) << row.name;
}

TEST(File, NumbersOfYamlAreUnderstoodAndItsOddOnesRefused) {
  EXPECT_EQ(parsed(kHead + "oomScoreAdj: -0x10\n").proxy.oom_score_adj, -16);
  EXPECT_EQ(parsed(kHead + "oomScoreAdj: 1_000\n").proxy.oom_score_adj, 1000);
  EXPECT_EQ(parsed(kHead + "oomScoreAdj: 5.0\n").proxy.oom_score_adj, 5);
  for (const char* odd : {".nan", ".inf", "-.inf", "1e400", "99999999999999999999"}) {
    EXPECT_THAT(error_of(kHead + "oomScoreAdj: " + odd + "\n"), HasSubstr("oomScoreAdj (line 3): ")) << odd;
    EXPECT_THAT(error_of(kHead + "logging: {flushFrequency: " + odd + "}\n"),
                HasSubstr("logging.flushFrequency (line 3): "))
        << odd;
  }
}

// Outside data: whatever the file contains, the result is a configuration or an error. The generator is fixed, so that
// a failure is reproducible.
TEST(File, DamagedFilesGiveAnErrorOrAConfiguration) {
  const std::string whole =
      std::string(kKubeadm136) + "---\n" + kSluiceHead + "ipvs: {engine: ebpf, drainTimeout: 30s}\n";
  const std::string alphabet = "\n :-[]{},\"'&*#|>!%@`0129azAZ~\t\\\x01\xff";
  std::minstd_rand random(7);
  std::size_t refused = 0;
  for (int round = 0; round < 500; ++round) {
    std::string text = whole;
    for (int damage = 0; damage <= round % 4; ++damage)
      text[random() % text.size()] = alphabet[random() % alphabet.size()];
    if (round % 10 == 0) text.resize(random() % text.size());
    const auto file = parse_config_text(text);
    if (file) continue;
    ++refused;
    EXPECT_FALSE(file.error().what.empty());
  }
  EXPECT_GT(refused, 50U);
}

TEST(File, FlushFrequencyMayBeNanoseconds) {
  EXPECT_EQ(parsed(kHead + "logging: {flushFrequency: 2000000000}\n").proxy.logging.flush_frequency.value, 2s);
  EXPECT_EQ(parsed(kHead + "logging: {flushFrequency: 3s}\n").proxy.logging.flush_frequency.value, 3s);
}

TEST(SluiceDocument, MayFollowOrPrecedeTheProxys) {
  const std::string ours =
      kSluiceHead +
      "manifests: /etc/sluice/services\niptables: {flavour: legacy}\nipvs: {engine: ebpf, drainTimeout: 30s}\n"
      "driftRepair: false\ndataDir: /var/lib/sluice\n";
  SluiceConfig wanted;
  wanted.manifests = "/etc/sluice/services";
  wanted.iptables.flavour = IptablesFlavour::kLegacy;
  wanted.ipvs = {IpvsEngine::kEbpf, 30s};
  wanted.drift_repair = false;
  wanted.data_dir = "/var/lib/sluice";
  for (const std::string& text :
       {kHead + "mode: ipvs\n---\n" + ours, "---\n" + ours + "---\n# empty\n---\n" + kHead + "mode: ipvs\n"}) {
    const ConfigFile file = parsed(text);
    EXPECT_EQ(file.proxy.mode, "ipvs");
    EXPECT_EQ(file.sluice, wanted);
  }
}

TEST(SluiceDocument, EveryFieldMayBeAbsentOrNull) {
  const SluiceConfig defaults;
  EXPECT_EQ(defaults.ipvs.drain_timeout, 15min);
  EXPECT_TRUE(defaults.drift_repair);
  EXPECT_EQ(defaults.data_dir, "/run/sluice");
  EXPECT_EQ(parsed(kHead).sluice, defaults);
  EXPECT_EQ(parsed(kHead + "---\n" + kSluiceHead +
                   "manifests:\niptables:\nipvs: {engine: , drainTimeout: null}\ndriftRepair:\ndataDir:\n")
                .sluice,
            defaults);
}

TEST(SluiceDocument, FaultsAreRefused) {
  struct Row {
    std::string name, text, fragment;
  };
  const std::string head = kHead + "---\n" + kSluiceHead;  // five lines
  const Row rows[] = {
      {"unknown fields", head + "manifest: /x\nipvs: {mode: 1}\n",
       "SluiceConfiguration: unknown field \"manifest\" (line 6), unknown field \"ipvs.mode\" (line 7)"},
      {"repeated field", head + "dataDir: /a\ndataDir: /b\n",
       "SluiceConfiguration: repeated field \"dataDir\" (line 7)"},
      {"flavour", head + "iptables: {flavour: new}\n",
       "iptables.flavour (line 6): auto, nft or legacy is wanted, not the text \"new\""},
      {"engine", head + "ipvs: {engine: 1}\n",
       "ipvs.engine (line 6): auto or kernel or ebpf is wanted, not the number 1"},
      {"drain timeout of zero", head + "ipvs: {drainTimeout: 0s}\n", "ipvs.drainTimeout: must be greater than 0"},
      {"negative drain timeout", head + "ipvs: {drainTimeout: -5s}\n", "ipvs.drainTimeout: must be greater than 0"},
      {"relative folder", head + "dataDir: run/sluice\n", "dataDir: \"run/sluice\" is not an absolute path"},
      {"empty folder", head + "dataDir: \"\"\n", "dataDir: \"\" is not an absolute path"},
      {"third kind", kHead + "---\napiVersion: v1\nkind: ConfigMap\n",
       R"(line 4: no kind "ConfigMap" is registered for version "v1")"},
      {"second of a kind", kHead + "---\n" + kHead, "a second document of kind KubeProxyConfiguration"},
      {"second of ours", head + "---\n" + kSluiceHead, "a second document of kind SluiceConfiguration"},
      {"crossed version", "apiVersion: sluice.dev/v1alpha1\nkind: KubeProxyConfiguration\n",
       "no kind \"KubeProxyConfiguration\" is registered"},
  };
  for (const Row& row : rows) EXPECT_THAT(error_of(row.text), HasSubstr(row.fragment)) << row.name;
}

class TemporaryFile {
 public:
  TemporaryFile() : path_(testing::TempDir() + "sluice-config-XXXXXX") { close_fd(::mkstemp(path_.data())); }
  ~TemporaryFile() { std::remove(path_.c_str()); }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
  void write(const std::string& text) const { std::ofstream(path_, std::ios::trunc) << text; }
  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  static void close_fd(int fd) { std::fclose(::fdopen(fd, "w")); }
  std::string path_;
};

TEST(LoadFile, NamesTheFileInItsErrors) {
  const TemporaryFile file;
  file.write("kind: Pod\n");
  const auto wrong = load_config_file(file.path());
  ASSERT_FALSE(wrong);
  EXPECT_THAT(wrong.error().what, HasSubstr("failed to decode: " + file.path() + ": line 1: no kind"));
  file.write(std::string(kKubeadm136));
  EXPECT_TRUE(load_config_file(file.path()));
  file.write(kHead + "#" + std::string(5U << 20U, 'x'));
  const auto large = load_config_file(file.path());
  ASSERT_FALSE(large);
  EXPECT_THAT(large.error().what, HasSubstr("longer than 4194304 bytes"));
  const auto absent = load_config_file(file.path() + ".absent");
  ASSERT_FALSE(absent);
  EXPECT_EQ(absent.error().code, Errc::kNotFound);
  EXPECT_FALSE(load_config_file("/proc"));
}

}  // namespace
}  // namespace sluice::config
