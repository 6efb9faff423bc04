// SPDX-License-Identifier: Apache-2.0
// A kubeconfig is three lists (clusters, users, contexts) and the name of a context. In each list the entry of that
// name counts. Data is either in the file itself, base64-encoded (certificate-authority-data), or in another file named
// by it (certificate-authority). Format: k8s.io/client-go/tools/clientcmd/api/v1.
#include "kube/kubeconfig.h"

#include <fmt/format.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "base/file.h"
#include "base/log.h"
#include "base/yaml_scalar.h"
#include "kube/server_url.h"

namespace sluice::kube {
namespace {

constexpr std::size_t kFileBytesMax = 4 * 1024 * 1024;
constexpr const char* kServiceAccountFolder = "/var/run/secrets/kubernetes.io/serviceaccount";

std::string trimmed(const std::string& text) {
  const auto first = text.find_first_not_of(" \t\r\n");
  if (first == std::string::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t\r\n") - first + 1);
}

std::optional<std::string> decode_base64(const std::string& encoded) {
  std::string compact;
  for (const char c : encoded) {
    if (c != '\n' && c != '\r' && c != ' ') compact += c;
  }
  if (compact.empty() || compact.size() % 4 != 0) return std::nullopt;
  std::vector<unsigned char> bytes(compact.size() / 4 * 3);
  const int length = EVP_DecodeBlock(bytes.data(), reinterpret_cast<const unsigned char*>(compact.data()),
                                     static_cast<int>(compact.size()));
  if (length < 0) return std::nullopt;
  std::size_t padding = 0;
  while (padding < 2 && compact[compact.size() - 1 - padding] == '=') ++padding;
  return std::string(bytes.begin(), bytes.begin() + (length - static_cast<int>(padding)));
}

// An invalid file is noticed when the configuration is read, not at every connection afterwards.
enum class Pem { kCertificates, kPrivateKey };

bool is_pem(const std::string& text, Pem kind) {
  const std::unique_ptr<BIO, decltype(&BIO_free)> bio(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())),
                                                      &BIO_free);
  bool found = false;
  if (kind == Pem::kCertificates) {
    X509* certificate = PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr);
    found = certificate != nullptr;
    X509_free(certificate);
  } else {
    EVP_PKEY* key = PEM_read_bio_PrivateKey(bio.get(), nullptr, nullptr, nullptr);
    found = key != nullptr;
    EVP_PKEY_free(key);
  }
  ERR_clear_error();
  return found;
}

Result<> set_server(ClientConfig& config, const std::string& text, bool default_tls, const std::string& field) {
  SLUICE_TRY(ServerUrl url, parse_server_url(text, default_tls, field));
  config.target.tls = url.tls;
  config.target.host = std::move(url.host);
  config.target.port = url.port;
  config.path_prefix = std::move(url.path);
  return {};
}

// One kubeconfig file being read.
class Reader {
 public:
  Reader(std::string path, const YAML::Node& root) : path_(std::move(path)), root_(root) {}

  // Nothing if it configures no server, like an empty file.
  Result<std::optional<ClientConfig>> read(const std::string& master) {
    SLUICE_TRY(const std::string context_name, text(root_, "current-context"));
    YAML::Node context(YAML::NodeType::Map);
    if (!context_name.empty()) {
      const auto found = entry("contexts", context_name, "context");
      if (!found) return fault("contexts", fmt::format("there is no entry named '{}'", context_name));
      context.reset(*found);
    }
    SLUICE_TRY(const std::string cluster_name, text(context, "cluster"));
    SLUICE_TRY(const std::string user_name, text(context, "user"));
    const YAML::Node cluster = entry_or_none("clusters", cluster_name, "cluster");
    const YAML::Node user = entry_or_none("users", user_name, "user");
    if (master.empty() && cluster.size() == 0) return std::optional<ClientConfig>();
    ClientConfig config;
    const std::string cluster_field = "clusters[" + cluster_name + "].cluster";
    const std::string user_field = "users[" + user_name + "].user";
    SLUICE_TRY(const bool secure, asks_for_tls(cluster, cluster_field, user));
    SLUICE_CHECK_OK(read_cluster(cluster, cluster_field, master, secure, config));
    SLUICE_CHECK_OK(read_user(user, user_field, config));
    return std::optional<ClientConfig>(std::move(config));
  }

 private:
  tl::unexpected<Error> fault(const std::string& field, const std::string& what) const {
    return fail(Errc::kInvalid, fmt::format("{}: {}: {}", path_, field, what));
  }

  // An absent or null member is empty text.
  Result<std::string> text(const YAML::Node& node, const char* key) const {
    const YAML::Node value = node.IsMap() ? node[key] : YAML::Node();
    if (!value || value.IsNull()) return std::string();
    if (!value.IsScalar()) return fault(key, "must be a string");
    return value.Scalar();
  }

  [[nodiscard]] std::optional<YAML::Node> entry(const char* list, const std::string& name, const char* member) const {
    const YAML::Node entries = root_[list];
    if (!entries || !entries.IsSequence()) return std::nullopt;
    for (const YAML::Node& candidate : entries) {
      if (candidate.IsMap() && candidate["name"] && candidate["name"].IsScalar() &&
          candidate["name"].Scalar() == name) {
        const YAML::Node found = candidate[member];
        return found && found.IsMap() ? found : YAML::Node(YAML::NodeType::Map);
      }
    }
    return std::nullopt;
  }

  // As in client-go, a missing cluster or user counts as an empty one.
  [[nodiscard]] YAML::Node entry_or_none(const char* list, const std::string& name, const char* member) const {
    if (const auto found = entry(list, name, member)) return *found;
    if (!name.empty()) {
      SLUICE_LOG_WARNING("A kubeconfig's context names a missing entry, continuing without it", {"file", path_},
                         {"field", list}, {"name", name});
    }
    return YAML::Node(YAML::NodeType::Map);
  }

  std::string beside(const std::string& name) const {
    if (name.empty() || name.front() == '/') return name;
    const std::size_t slash = path_.rfind('/');
    return slash == std::string::npos ? name : path_.substr(0, slash + 1) + name;
  }

  // KEY-data in the file itself, or KEY as the name of another.
  Result<std::string> data(const YAML::Node& node, const std::string& where, const std::string& key, Pem kind) const {
    const auto checked = [&](const std::string& field, std::string&& pem) -> Result<std::string> {
      if (!is_pem(pem, kind)) {
        return fault(field, kind == Pem::kPrivateKey ? "holds no private key in PEM" : "holds no certificate in PEM");
      }
      return std::move(pem);
    };
    SLUICE_TRY(const std::string encoded, text(node, (key + "-data").c_str()));
    if (!encoded.empty()) {
      auto decoded = decode_base64(encoded);
      if (!decoded) return fault(where + "." + key + "-data", "is not base64");
      return checked(where + "." + key + "-data", std::move(*decoded));
    }
    SLUICE_TRY(const std::string name, text(node, key.c_str()));
    if (name.empty()) return std::string();
    auto content = read_file(beside(name), kFileBytesMax);
    if (!content) return annotate(content.error(), fmt::format("{}: {}.{}", path_, where, key));
    return checked(where + "." + key, std::move(*content));
  }

  // client-go's rest.Config: a configuration that names a CA or a client certificate, or states that the server's
  // certificate need not be checked, means https, even if the server's URL has no scheme.
  Result<bool> asks_for_tls(const YAML::Node& cluster, const std::string& cluster_field, const YAML::Node& user) const {
    for (const char* key : {"certificate-authority", "certificate-authority-data"}) {
      SLUICE_TRY(const std::string value, text(cluster, key));
      if (!value.empty()) return true;
    }
    for (const char* key : {"client-certificate", "client-certificate-data"}) {
      SLUICE_TRY(const std::string value, text(user, key));
      if (!value.empty()) return true;
    }
    return insecure(cluster, cluster_field);
  }

  Result<bool> insecure(const YAML::Node& cluster, const std::string& where) const {
    const YAML::Node value = cluster["insecure-skip-tls-verify"];
    if (!value || value.IsNull()) return false;
    const PlainScalar scalar = value.IsScalar() ? resolve_plain(value.Scalar()) : PlainScalar();
    if (scalar.kind != ScalarKind::kBool) return fault(where + ".insecure-skip-tls-verify", "must be true or false");
    return scalar.truth;
  }

  Result<> read_cluster(const YAML::Node& cluster, const std::string& where, const std::string& master,
                        bool default_tls, ClientConfig& config) const {
    SLUICE_TRY(const std::string server, text(cluster, "server"));
    const bool overridden = !master.empty();
    if (server.empty() && !overridden) return fault(where + ".server", "is required");
    SLUICE_CHECK_OK(set_server(config, overridden ? master : server, default_tls,
                               overridden ? "--master" : fmt::format("{}: {}.server", path_, where)));
    SLUICE_TRY(const std::string proxy, text(cluster, "proxy-url"));
    if (!proxy.empty())
      return fail(Errc::kUnsupported, fmt::format("{}: {}.proxy-url: proxies are not supported", path_, where));
    SLUICE_TRY(config.target.tls_settings.ca_pem, data(cluster, where, "certificate-authority", Pem::kCertificates));
    // The name belonged to the server that `master` replaces.
    if (!overridden) {
      SLUICE_TRY(config.target.tls_settings.server_name, text(cluster, "tls-server-name"));
    }
    SLUICE_TRY(config.target.tls_settings.insecure, insecure(cluster, where));
    if (config.target.tls_settings.insecure && !config.target.tls_settings.ca_pem.empty()) {
      return fault(where, "certificate-authority and insecure-skip-tls-verify exclude each other");
    }
    return {};
  }

  Result<> read_user(const YAML::Node& user, const std::string& where, ClientConfig& config) const {
    // They request to act as another user, with other rights: ignoring that would mean acting as the wrong one.
    for (const char* key : {"as", "as-uid", "as-groups", "as-user-extra"}) SLUICE_CHECK_OK(refuse(user, where, key));
    if (!config.target.tls) {
      note_withheld(user, where, config);
      return {};
    }
    for (const char* key : {"exec", "auth-provider", "username", "password"}) SLUICE_CHECK_OK(refuse(user, where, key));
    SLUICE_TRY(config.token, text(user, "token"));
    SLUICE_TRY(const std::string token_file, text(user, "tokenFile"));
    // In client-go the file wins, since it is the one that rotates.
    if (!token_file.empty()) config.token_file = beside(token_file);
    SLUICE_TRY(config.target.tls_settings.client_certificate_pem,
               data(user, where, "client-certificate", Pem::kCertificates));
    SLUICE_TRY(config.target.tls_settings.client_key_pem, data(user, where, "client-key", Pem::kPrivateKey));
    if (config.target.tls_settings.client_certificate_pem.empty() !=
        config.target.tls_settings.client_key_pem.empty()) {
      return fault(where, "client-certificate and client-key belong together");
    }
    return {};
  }

  Result<> refuse(const YAML::Node& user, const std::string& where, const char* key) const {
    if (!user[key] || user[key].IsNull()) return {};
    return fail(Errc::kUnsupported, fmt::format("{}: {}.{}: not supported; a token, tokenFile or client certificate is",
                                                path_, where, key));
  }

  // As in client-go, no credentials are read for a connection on which all hosts on the path could read them.
  void note_withheld(const YAML::Node& user, const std::string& where, const ClientConfig& config) const {
    std::vector<std::string> fields;
    for (const char* key : {"token", "tokenFile", "client-certificate", "client-certificate-data", "exec",
                            "auth-provider", "username", "password"}) {
      if (user[key] && !user[key].IsNull()) fields.push_back(fmt::format("{}.{}", where, key));
    }
    if (fields.empty()) return;
    SLUICE_LOG_WARNING("Credentials are not sent over a connection without TLS; name the server with https://",
                       {"file", path_}, {"server", config.server()},
                       {"field", fmt::format("{}", fmt::join(fields, ", "))});
  }

  const std::string path_;
  const YAML::Node root_;
};

}  // namespace

std::string ClientConfig::server() const {
  return fmt::format("{}://{}{}", target.tls ? "https" : "http", target.host_header(), path_prefix);
}

Result<ClientConfig> load_kubeconfig(const std::string& path, const std::string& master, const std::string& root) {
  SLUICE_TRY(const std::string content, read_file(path, kFileBytesMax));
  std::optional<ClientConfig> read;
  try {
    YAML::Node document = YAML::Load(content);
    if (document.IsNull()) document = YAML::Node(YAML::NodeType::Map);
    if (!document.IsMap())
      return fail(Errc::kInvalid, fmt::format("{}: is not a kubeconfig: the document must be a map", path));
    SLUICE_TRY(read, Reader(path, document).read(master));
  } catch (const YAML::Exception& error) {
    return fail(Errc::kInvalid, fmt::format("{}:{}: {}", path, error.mark.line + 1, error.msg));
  }
  if (read) return *std::move(read);
  std::error_code ignored;
  if (std::getenv("KUBERNETES_SERVICE_HOST") != nullptr &&
      std::filesystem::is_regular_file(root + kServiceAccountFolder + "/token", ignored)) {
    SLUICE_LOG_INFO("The kubeconfig names no server, falling back to in-cluster config", {"file", path});
    return in_cluster_config(root);
  }
  return fail(
      Errc::kInvalid,
      fmt::format("{}: current-context: names no context with a cluster that has a server, there is no --master, "
                  "and this is not a pod",
                  path));
}

Result<ClientConfig> in_cluster_config(const std::string& root) {
  const char* host = std::getenv("KUBERNETES_SERVICE_HOST");
  const char* port = std::getenv("KUBERNETES_SERVICE_PORT");
  if (host == nullptr || port == nullptr || *host == '\0' || *port == '\0') {
    return fail(Errc::kNotFound,
                "not running in a cluster: KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set; name a "
                "kubeconfig or a folder of manifests");
  }
  ClientConfig config;
  const bool six = std::string_view(host).find(':') != std::string_view::npos;
  SLUICE_CHECK_OK(set_server(config, fmt::format("https://{}{}{}:{}", six ? "[" : "", host, six ? "]" : "", port), true,
                             "KUBERNETES_SERVICE_HOST"));
  const std::string folder = root + kServiceAccountFolder;
  config.token_file = folder + "/token";
  SLUICE_TRY(const std::string token, read_file(config.token_file, kFileBytesMax));
  if (trimmed(token).empty()) return fail(Errc::kInvalid, fmt::format("{}: holds no token", config.token_file));
  SLUICE_TRY(config.target.tls_settings.ca_pem, read_file(folder + "/ca.crt", kFileBytesMax));
  if (!is_pem(config.target.tls_settings.ca_pem, Pem::kCertificates))
    return fail(Errc::kInvalid, fmt::format("{}/ca.crt: holds no certificate in PEM", folder));
  return config;
}

Result<ClientConfig> master_config(const std::string& master) {
  ClientConfig config;
  SLUICE_CHECK_OK(set_server(config, master, false, "--master"));
  return config;
}

Result<std::string> authorization(const ClientConfig& config) {
  // Whatever the configuration: what is sent without TLS can be read, and used, by all hosts on the path.
  if (!config.target.tls) return std::string();
  std::string token = config.token;
  if (!config.token_file.empty()) {
    SLUICE_TRY(const std::string content, read_file(config.token_file, kFileBytesMax));
    token = trimmed(content);
    if (token.empty()) return fail(Errc::kInvalid, fmt::format("{}: holds no token", config.token_file));
  }
  // Text that is not a token must not inject header lines.
  const auto odd = [](unsigned char c) { return c <= ' ' || c == 0x7f; };
  if (std::any_of(token.begin(), token.end(), odd)) {
    return fail(Errc::kInvalid, fmt::format("{}: is not a token: white space or control characters",
                                            config.token_file.empty() ? "token" : config.token_file));
  }
  return token.empty() ? std::string() : "Bearer " + token;
}

}  // namespace sluice::kube
