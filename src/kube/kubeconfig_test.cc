// SPDX-License-Identifier: Apache-2.0
#include "kube/kubeconfig.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <openssl/evp.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "kube/server_url.h"
#include "net/test_certificates.h"

namespace sluice::kube {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

class KubeconfigTest : public testing::Test {
 protected:
  KubeconfigTest() {
    std::string name = (fs::temp_directory_path() / "sluice-kubeconfig-XXXXXX").string();
    EXPECT_NE(::mkdtemp(name.data()), nullptr);
    folder_ = name;
  }
  ~KubeconfigTest() override { fs::remove_all(folder_); }

  std::string write(const std::string& name, const std::string& text) {
    fs::create_directories((folder_ / name).parent_path());
    std::ofstream(folder_ / name) << text;
    return (folder_ / name).string();
  }
  // A kubeconfig with these lines below its cluster and its user.
  std::string config(const std::string& cluster, const std::string& user) {
    return write("config", fmt::format("apiVersion: v1\nkind: Config\ncurrent-context: here\ncontexts:\n- name: here\n "
                                       " context: {{cluster: c, user: u}}\n"
                                       "clusters:\n- name: c\n  cluster: {}\nusers:\n- name: u\n  user: {}\n",
                                       cluster, user));
  }
  std::string error_of(const std::string& path, const std::string& master = "") {
    const auto loaded = load_kubeconfig(path, master);
    return loaded ? "no error" : loaded.error().what;
  }

  static std::string token_error(const ClientConfig& config) {
    const auto header = authorization(config);
    return header ? "no error" : header.error().what;
  }

  fs::path folder_;
};

TEST_F(KubeconfigTest, ServerTokenAndMaster) {
  const std::string path =
      config("{server: 'https://10.96.0.1:443/k8s/c-1', insecure-skip-tls-verify: true}", "{token: secret}");
  const auto loaded = load_kubeconfig(path, "");
  ASSERT_TRUE(loaded) << loaded.error().what;
  EXPECT_EQ(loaded->server(), "https://10.96.0.1:443/k8s/c-1");
  EXPECT_EQ(loaded->path_prefix, "/k8s/c-1");
  EXPECT_EQ(*authorization(*loaded), "Bearer secret");
  EXPECT_EQ(load_kubeconfig(path, "https://192.0.2.1:6443")->server(), "https://192.0.2.1:6443");
}

TEST_F(KubeconfigTest, ATokenFileIsReadAnewEachTimeAndMayBeRelative) {
  const std::string token = write("tokens/token", "first\n");
  const auto loaded =
      load_kubeconfig(config("{server: 'https://127.0.0.1:1'}", "{tokenFile: tokens/token, token: unused}"), "");
  ASSERT_TRUE(loaded) << loaded.error().what;
  EXPECT_EQ(*authorization(*loaded), "Bearer first");
  write("tokens/token", "second\n");
  EXPECT_EQ(*authorization(*loaded), "Bearer second");
  fs::remove(token);
  EXPECT_FALSE(authorization(*loaded));
}

std::string base64(const std::string& text) {
  std::string encoded(4 * ((text.size() + 2) / 3) + 1, '\0');
  encoded.resize(static_cast<std::size_t>(EVP_EncodeBlock(reinterpret_cast<unsigned char*>(encoded.data()),
                                                          reinterpret_cast<const unsigned char*>(text.data()),
                                                          static_cast<int>(text.size()))));
  return encoded;
}

TEST_F(KubeconfigTest, CertificatesAreInTheFileOrBesideIt) {
  const net::test::Authority authority;
  const std::string ca = authority.certificate_pem();
  const net::test::Certificate mine = authority.issue("DNS:me");
  write("pki/ca.crt", ca);
  write("pki/me.crt", mine.certificate_pem);
  const std::string key = write("me.key", mine.key_pem);
  const auto beside =
      load_kubeconfig(config("{server: 'https://h', certificate-authority: pki/ca.crt, tls-server-name: api.example}",
                             fmt::format("{{client-certificate: pki/me.crt, client-key: {}}}", key)),
                      "");
  ASSERT_TRUE(beside) << beside.error().what;
  const auto within = load_kubeconfig(
      config(fmt::format("{{server: 'https://h', certificate-authority: nowhere, certificate-authority-data: {}, "
                         "tls-server-name: api.example}}",
                         base64(ca)),
             fmt::format("{{client-certificate-data: {}, client-key-data: {}}}", base64(mine.certificate_pem),
                         base64(mine.key_pem))),
      "");
  ASSERT_TRUE(within) << within.error().what;
  for (const auto* loaded : {&*beside, &*within}) {
    EXPECT_EQ(loaded->target.tls_settings.ca_pem, ca);
    EXPECT_EQ(loaded->target.tls_settings.client_certificate_pem, mine.certificate_pem);
    EXPECT_EQ(loaded->target.tls_settings.client_key_pem, mine.key_pem);
    EXPECT_EQ(loaded->target.tls_settings.server_name, "api.example");
    EXPECT_FALSE(loaded->target.tls_settings.insecure);
    EXPECT_EQ(*authorization(*loaded), "");
  }
  EXPECT_THAT(error_of(config("{server: 'https://h'}",
                              fmt::format("{{client-certificate-data: {}}}", base64(mine.certificate_pem)))),
              HasSubstr("users[u].user: client-certificate and client-key belong together"));
}

TEST_F(KubeconfigTest, InvalidCertificatesAndKeysAreNamedAtOnce) {
  const std::string certificate = base64(net::test::Authority().certificate_pem());
  EXPECT_THAT(error_of(config("{server: 'https://h', certificate-authority-data: aGVsbG8=}", "{}")),
              HasSubstr("clusters[c].cluster.certificate-authority-data: holds no certificate in PEM"));
  write("ca.crt", "no certificate");
  EXPECT_THAT(error_of(config("{server: 'https://h', certificate-authority: ca.crt}", "{}")),
              HasSubstr("clusters[c].cluster.certificate-authority: holds no certificate in PEM"));
  EXPECT_THAT(error_of(config("{server: 'https://h'}",
                              fmt::format("{{client-certificate-data: {0}, client-key-data: {0}}}", certificate))),
              HasSubstr("users[u].user.client-key-data: holds no private key in PEM"));
}

TEST_F(KubeconfigTest, ServersAreVerifiedUnlessDisabled) {
  const auto insecure = [&](const std::string& value) {
    const auto loaded =
        load_kubeconfig(config("{server: 'https://h', insecure-skip-tls-verify: " + value + "}", "{}"), "");
    return loaded ? std::string(loaded->target.tls_settings.insecure ? "insecure" : "verified") : loaded.error().what;
  };
  EXPECT_EQ(insecure("true"), "insecure");
  EXPECT_EQ(insecure("True"), "insecure");
  EXPECT_EQ(insecure("false"), "verified");
  EXPECT_EQ(insecure("null"), "verified");
  EXPECT_THAT(insecure("maybe"), HasSubstr("clusters[c].cluster.insecure-skip-tls-verify: must be true or false"));
  EXPECT_THAT(insecure("[]"), HasSubstr("must be true or false"));
  EXPECT_THAT(insecure("true, certificate-authority-data: " + base64(net::test::Authority().certificate_pem())),
              HasSubstr("exclude each other"));
}

TEST(ServerUrl, IsParsedAsInClientGo) {
  struct Row {
    const char* text;
    const char* plain;   // with http where no scheme is named, or a part of the error
    const char* secure;  // with https there; "" = the same
  };
  const Row rows[] = {
      {"https://api.example", "https api.example 443 ", ""},
      {"https://api.example:443/", "https api.example 443 ", ""},
      {"HTTPS://10.0.0.1:6443", "https 10.0.0.1 6443 ", ""},
      {"https://[fd00::1]:6443/k8s/", "https fd00::1 6443 /k8s", ""},
      {"https://[fe80::1%25eth0]", "https fe80::1%eth0 443 ", ""},
      {"https://h/a/b?x=1#y", "https h 443 /a/b", ""},
      {"https://h:", "https h 443 ", ""},
      {"http://127.0.0.1:8001", "http 127.0.0.1 8001 ", ""},
      {"Http://h", "http h 80 ", ""},
      {"127.0.0.1:6443", "http 127.0.0.1 6443 ", "https 127.0.0.1 6443 "},
      {"localhost:6443", "http localhost 6443 ", "https localhost 6443 "},
      {"api.example", "http api.example 80 ", "https api.example 443 "},
      {"[::1]:6443/", "http ::1 6443 ", "https ::1 6443 "},
      {"h:6443/prefix", "must be a URL or a host:port pair", ""},
      {"//h:6443", "names no host", ""},
      {"ftp://h", "neither an http nor an https URL", ""},
      {"://h", "neither an http nor an https URL", ""},
      {"https://h:0", "no valid port", ""},
      {"https://h:65536", "no valid port: 1 to 65535", ""},
      {"https://h:https", "no valid port", ""},
      {"https://[::1]6443", "no valid port", ""},
      {"https://[fd00::1", "no closing bracket", ""},
      {"https://:6443", "names no host", ""},
      {"https:///path", "names no host", ""},
      {"https://a b", "is not a host", ""},
      {"https://h\r\nX: 1", "is not a host", ""},
      {"https://h/a b", "holds white space", ""},
      {"https://me:secret@h", "a user name or password in the URL", ""},
      {"me:secret@h:6443", "a user name or password in the URL", ""},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(row.text);
    for (const bool tls : {false, true}) {
      const auto url = parse_server_url(row.text, tls, "the field");
      const std::string got =
          url ? fmt::format("{} {} {} {}", url->tls ? "https" : "http", url->host, url->port, url->path)
              : url.error().what;
      EXPECT_THAT(got, HasSubstr(tls && *row.secure != '\0' ? row.secure : row.plain));
      EXPECT_EQ(static_cast<bool>(url), got.starts_with("http"));
      EXPECT_THAT(got, testing::Not(HasSubstr("secret")));
      EXPECT_TRUE(url || got.starts_with("the field: ")) << got;
    }
  }
}

TEST_F(KubeconfigTest, MasterAloneIsAClientWithoutCredentials) {
  const auto bare = master_config("127.0.0.1:6443");
  ASSERT_TRUE(bare) << bare.error().what;
  EXPECT_EQ(bare->server(), "http://127.0.0.1:6443");
  EXPECT_EQ(*authorization(*bare), "");
  EXPECT_EQ(master_config("https://127.0.0.1:6443")->server(), "https://127.0.0.1:6443");
  EXPECT_THAT(master_config("https://h:0").error().what, HasSubstr("--master: "));
}

TEST_F(KubeconfigTest, AServerWithoutASchemeIsHttpsIfTlsIsConfigured) {
  const net::test::Authority authority;
  const net::test::Certificate mine = authority.issue("DNS:me");
  const std::string ca = write("ca.crt", authority.certificate_pem());
  write("me.crt", mine.certificate_pem);
  write("me.key", mine.key_pem);
  struct Row {
    std::string cluster;
    std::string user;
    bool tls;
  };
  const Row rows[] = {
      {"certificate-authority: ca.crt", "token: t", true},
      {"certificate-authority-data: " + base64(authority.certificate_pem()), "token: t", true},
      {"insecure-skip-tls-verify: true", "token: t", true},
      {"extensions: []", "client-certificate: me.crt, client-key: me.key", true},
      {"extensions: []", "token: t", false},
      {"insecure-skip-tls-verify: false", "token: t", false},
  };
  for (const Row& row : rows) {
    for (const char* master : {"", "127.0.0.1:6443"}) {
      SCOPED_TRACE(row.cluster + row.user + master);
      testing::internal::CaptureStderr();
      const auto loaded = load_kubeconfig(
          config(fmt::format("{{server: '{}', {}}}", *master == '\0' ? "127.0.0.1:6443" : "https://h", row.cluster),
                 fmt::format("{{{}}}", row.user)),
          master);
      const std::string log = testing::internal::GetCapturedStderr();
      ASSERT_TRUE(loaded) << loaded.error().what;
      EXPECT_EQ(loaded->server(), row.tls ? "https://127.0.0.1:6443" : "http://127.0.0.1:6443");
      EXPECT_EQ(*authorization(*loaded), row.tls && row.user == "token: t" ? "Bearer t" : "");
      EXPECT_EQ(log.find("Credentials are not sent") == std::string::npos, row.tls) << log;
    }
  }
}

TEST_F(KubeconfigTest, AServerOnHttpGetsNoCredentialsAndAWarningNamesThem) {
  write("token", "secret");
  for (const char* user :
       {"{token: secret}", "{tokenFile: token}", "{username: secret, password: secret}", "{exec: {command: secret}}",
        "{auth-provider: {name: secret}}", "{client-certificate: gone}"}) {
    SCOPED_TRACE(user);
    testing::internal::CaptureStderr();
    const auto loaded = load_kubeconfig(config("{server: 'http://127.0.0.1:8001'}", user), "");
    const std::string log = testing::internal::GetCapturedStderr();
    ASSERT_TRUE(loaded) << loaded.error().what;
    EXPECT_EQ(loaded->server(), "http://127.0.0.1:8001");
    EXPECT_EQ(*authorization(*loaded), "");
    EXPECT_EQ(loaded->token + loaded->token_file + loaded->target.tls_settings.client_key_pem, "");
    EXPECT_THAT(log, testing::AllOf(HasSubstr("Credentials are not sent over a connection without TLS"),
                                    HasSubstr("users[u].user."), testing::Not(HasSubstr("secret"))));
  }
  testing::internal::CaptureStderr();
  EXPECT_TRUE(load_kubeconfig(config("{server: 'http://127.0.0.1:8001'}", "{}"), ""));
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "") << "there is nothing to withhold";
  EXPECT_THAT(error_of(config("{server: 'http://127.0.0.1:8001'}", "{as: root}")), HasSubstr("as: not supported"));
}

TEST_F(KubeconfigTest, WithAMasterAnEmptyFileOrOneWithoutContextSuffices) {
  for (const char* text :
       {"", "# nothing\n", "---\n", "{}\n", "apiVersion: v1\nkind: Config\n", "current-context: ''\nclusters: []\n",
        "contexts: [{name: a, context: {cluster: c}}]\nclusters: [{name: c, cluster: {server: "
        "'https://other', insecure-skip-tls-verify: true}}]\n"}) {
    SCOPED_TRACE(text);
    const std::string path = write("empty", text);
    const auto loaded = load_kubeconfig(path, "https://192.0.2.1:6443");
    ASSERT_TRUE(loaded) << loaded.error().what;
    EXPECT_EQ(loaded->server(), "https://192.0.2.1:6443");
    EXPECT_EQ(*authorization(*loaded), "");
    EXPECT_FALSE(loaded->target.tls_settings.insecure);
    ::unsetenv("KUBERNETES_SERVICE_HOST");
    EXPECT_THAT(error_of(path), testing::AllOf(HasSubstr(path), HasSubstr("current-context"), HasSubstr("--master")));
  }
  EXPECT_THAT(error_of(write("list", "[a]\n"), "https://h"), HasSubstr("is not a kubeconfig"));
  EXPECT_THAT(error_of(write("absent", "current-context: a\n"), "https://h"),
              HasSubstr("contexts: there is no entry named 'a'"));
}

TEST_F(KubeconfigTest, AMissingClusterOrUserIsEmptyAndLogged) {
  const std::string path = write("half", "{current-context: a, contexts: [{name: a, context: {cluster: c, user: u}}]}");
  testing::internal::CaptureStderr();
  const auto loaded = load_kubeconfig(path, "https://h");
  const std::string log = testing::internal::GetCapturedStderr();
  ASSERT_TRUE(loaded) << loaded.error().what;
  EXPECT_THAT(log, testing::AllOf(HasSubstr("field=\"clusters\" name=\"c\""), HasSubstr("field=\"users\" name=\"u\"")));
}

TEST_F(KubeconfigTest, AMasterAlsoReplacesTheNameThatIsVerified) {
  const std::string path = config("{server: 'https://h', tls-server-name: api.example}", "{}");
  EXPECT_EQ(load_kubeconfig(path, "")->target.tls_settings.server_name, "api.example");
  EXPECT_EQ(load_kubeconfig(path, "https://other")->target.tls_settings.server_name, "");
}

TEST_F(KubeconfigTest, AFileThatOpensButCannotBeReadIsAnError) {
  fs::create_directory(folder_ / "folder");
  const std::string folder = (folder_ / "folder").string();
  EXPECT_THAT(error_of(folder), HasSubstr(folder));
  EXPECT_THAT(error_of("/dev/zero"), HasSubstr("longer than"));
  EXPECT_THAT(error_of(config("{server: 'https://h', certificate-authority: folder}", "{}")),
              testing::AllOf(HasSubstr("certificate-authority"), HasSubstr(folder)));
  const auto loaded = load_kubeconfig(config("{server: 'https://h'}", "{tokenFile: folder}"), "");
  ASSERT_TRUE(loaded) << loaded.error().what;
  EXPECT_THAT(token_error(*loaded), HasSubstr(folder));
}

TEST_F(KubeconfigTest, ATokenCannotSmuggleHeaderLines) {
  const std::string token = write("token", "secret\r\nX-Remote-User: admin\n");
  const auto loaded = load_kubeconfig(config("{server: 'https://h'}", "{tokenFile: token}"), "");
  ASSERT_TRUE(loaded) << loaded.error().what;
  EXPECT_THAT(token_error(*loaded), testing::AllOf(HasSubstr(token), HasSubstr("is not a token")));
  write("token", " \n");
  EXPECT_THAT(token_error(*loaded), HasSubstr("holds no token"));
}

TEST_F(KubeconfigTest, MissingEntriesAreNamed) {
  struct Row {
    const char* text;
    const char* error;
  };
  const Row rows[] = {
      {"{current-context: [a]}", "current-context: must be a string"},
      {"{current-context: a, contexts: 7}", "contexts: there is no entry named 'a'"},
      {"{current-context: a, contexts: [{name: b}, 7, {name: [a]}]}", "contexts: there is no entry named 'a'"},
      {"{current-context: a, contexts: [{name: a, context: {cluster: c}}], clusters: [{name: c, cluster: "
       "{insecure-skip-tls-verify: true}}]}",
       "clusters[c].cluster.server: is required"},
      {"{current-context: a, contexts: [{name: a, context: {cluster: c}}], clusters: [{name: c, cluster: {server: "
       "[h]}}]}",
       "server: must be a string"},
  };
  for (const Row& row : rows) {
    const std::string path = write("rows", row.text);
    EXPECT_EQ(error_of(path), fmt::format("{}: {}", path, row.error));
  }
  // A context without a user is anonymous.
  EXPECT_EQ(error_of(write("anonymous",
                           "{current-context: a, contexts: [{name: a, context: {cluster: c}}], clusters: [{name: c, "
                           "cluster: {server: 'https://h'}}]}")),
            "no error");
}

TEST_F(KubeconfigTest, WhatIsMissingOrUnsupportedIsNamed) {
  EXPECT_THAT(error_of((folder_ / "absent").string()), HasSubstr("absent"));
  EXPECT_THAT(error_of(write("list", "- a\n")), HasSubstr("is not a kubeconfig"));
  EXPECT_THAT(error_of(write("broken", "a: [b\n")), HasSubstr("broken:2"));
  EXPECT_THAT(error_of(write("nocontext", "apiVersion: v1\nkind: Config\ncurrent-context: there\n")),
              HasSubstr("there"));
  EXPECT_THAT(error_of(config("{server: 'https://h', proxy-url: 'http://p'}", "{}")), HasSubstr("proxy-url"));
  EXPECT_THAT(error_of(config("{server: 'https://h'}", "{exec: {command: x}}")), HasSubstr("exec"));
  EXPECT_THAT(error_of(config("{server: 'https://h'}", "{username: a, password: b}")), HasSubstr("username"));
  for (const char* user :
       {"as: root", "as-groups: [admins]", "as-uid: '7'", "as-user-extra: {a: [b]}", "password: b"}) {
    EXPECT_THAT(error_of(config("{server: 'https://h'}", fmt::format("{{token: t, {}}}", user))),
                HasSubstr(std::string(user).substr(0, std::string_view(user).find(':')) + ": not supported"));
  }
  EXPECT_THAT(error_of(config("{server: 'https://h', certificate-authority: nowhere.crt}", "{}")),
              HasSubstr("nowhere.crt"));
  EXPECT_THAT(error_of(config("{server: 'https://h', certificate-authority-data: '%%'}", "{}")),
              HasSubstr("certificate-authority-data"));
  EXPECT_NE(error_of(config("{server: 'ftp://h'}", "{}")), "no error");
}

TEST_F(KubeconfigTest, InClusterConfigurationIsThatOfThePod) {
  write("var/run/secrets/kubernetes.io/serviceaccount/token", "pod-token");
  ::unsetenv("KUBERNETES_SERVICE_HOST");
  ::unsetenv("KUBERNETES_SERVICE_PORT");
  EXPECT_FALSE(in_cluster_config(folder_.string())) << "not in a pod";
  ::setenv("KUBERNETES_SERVICE_HOST", "fd00::1", 1);
  ::setenv("KUBERNETES_SERVICE_PORT", "6443", 1);
  EXPECT_THAT(in_cluster_config(folder_.string()).error().what, HasSubstr("ca.crt"));
  write("var/run/secrets/kubernetes.io/serviceaccount/ca.crt", "certificate");
  EXPECT_THAT(in_cluster_config(folder_.string()).error().what, HasSubstr("holds no certificate"));
  const std::string ca = net::test::Authority().certificate_pem();
  write("var/run/secrets/kubernetes.io/serviceaccount/ca.crt", ca);
  const auto loaded = in_cluster_config(folder_.string());
  ::unsetenv("KUBERNETES_SERVICE_HOST");
  ::unsetenv("KUBERNETES_SERVICE_PORT");
  ASSERT_TRUE(loaded) << loaded.error().what;
  EXPECT_EQ(loaded->target.tls_settings.ca_pem, ca);
  EXPECT_EQ(loaded->server(), "https://[fd00::1]:6443");
  EXPECT_EQ(*authorization(*loaded), "Bearer pod-token");
}

TEST_F(KubeconfigTest, AFileThatNamesNoServerMeansThePodThatWeRunIn) {
  write("var/run/secrets/kubernetes.io/serviceaccount/token", "pod-token");
  write("var/run/secrets/kubernetes.io/serviceaccount/ca.crt", net::test::Authority().certificate_pem());
  ::setenv("KUBERNETES_SERVICE_HOST", "192.0.2.7", 1);
  ::setenv("KUBERNETES_SERVICE_PORT", "443", 1);
  const std::string path = write("empty", "");
  const auto pod = load_kubeconfig(path, "", folder_.string());
  const auto master = load_kubeconfig(path, "https://h", folder_.string());
  ::unsetenv("KUBERNETES_SERVICE_HOST");
  ::unsetenv("KUBERNETES_SERVICE_PORT");
  ASSERT_TRUE(pod) << pod.error().what;
  EXPECT_EQ(pod->server(), "https://192.0.2.7:443");
  EXPECT_EQ(*authorization(*pod), "Bearer pod-token");
  ASSERT_TRUE(master) << master.error().what;
  EXPECT_EQ(*authorization(*master), "") << "the pod's token is for the pod's API server";
}

}  // namespace
}  // namespace sluice::kube
