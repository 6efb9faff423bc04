// SPDX-License-Identifier: Apache-2.0
#include "daemon/object_source.h"

#include <cstdlib>
#include <utility>

#include "base/log.h"
#include "daemon/cleanup.h"
#include "daemon/http_proxy.h"
#include "kube/kubeconfig.h"

namespace sluice::daemon {
namespace {

Result<kube::ClientConfig> client_config(const config::CommandLine& command) {
  const std::string& path = command.config.client_connection.kubeconfig;
  if (!path.empty()) return kube::load_kubeconfig(path, command.master);
  if (!command.master.empty()) return kube::master_config(command.master);
  SLUICE_LOG_INFO("Neither kubeconfig file nor master URL was specified, falling back to in-cluster config");
  return kube::in_cluster_config();
}

// Go programs obey it, so an administrator may rely on it.
void note_http_proxy(const net::HttpTarget& target) {
  const std::string variable = obeyed_proxy_variable({target.tls, target.host, target.port}, [](const char* name) {
    const char* value = std::getenv(name);
    return std::string(value == nullptr ? "" : value);
  });
  if (variable.empty()) return;
  SLUICE_LOG_WARNING("A proxy is not used, the API server is connected to directly", {"variable", variable});
}

}  // namespace

Result<ObjectSource> make_object_source(net::EventLoop& loop, const config::CommandLine& command,
                                        const std::string& node_name, kube::SourceHooks hooks) {
  ObjectSource made;
  const std::string& folder = command.sluice.manifests;
  if (!folder.empty()) {
    made.words = "files in " + folder;
    made.files = true;
    made.source = kube::make_file_source(loop, folder, kept_manifests_folder(command.sluice.data_dir), node_name,
                                         std::move(hooks));
    return made;
  }
  SLUICE_TRY(const kube::ClientConfig client, client_config(command));
  note_http_proxy(client.target);
  if (const auto address = IpAddress::parse(client.target.host)) made.api_server_addresses.push_back(*address);
  made.words = "API server " + client.server();
  made.events = kube::make_event_sink(loop, client, node_name, hooks);
  made.source = kube::make_api_source(loop, client, node_name, std::move(hooks));
  return made;
}

}  // namespace sluice::daemon
