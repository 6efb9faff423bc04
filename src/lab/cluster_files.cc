// SPDX-License-Identifier: Apache-2.0
// A node of the cluster is a few namespaces: the lab's network namespace, and a mount and a process namespace of its own
// below it. In its mount namespace /run, /var/lib and /var/log are the node's, so that paths which Kubernetes and
// manifests take for granted (/run/xtables.lock, /var/lib/kubelet, /run/containerd) mean this node's. The first process
// of its process namespace is a shell: when that ends the kernel ends everything else there, and the
// mounts vanish with the last of them.
#include "lab/cluster_files.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/ip_literals.h"

namespace sluice::lab {
namespace {

constexpr unsigned kPodNetworkLength = 24;
constexpr unsigned kPodNetworkLength6 = 64;
constexpr std::string_view kApiPort = "6443";
// Alpha in 1.20: pods, nodes and Services with addresses of both families.
constexpr std::string_view kDualStackGate = "--feature-gates=IPv6DualStack=true";

// Fills in what is written as @NAME@.
std::string fill(std::string_view text, const std::vector<std::pair<std::string_view, std::string_view>>& values) {
  std::string out(text);
  for (const auto& [name, value] : values) {
    for (std::size_t at = out.find(name); at != std::string::npos; at = out.find(name, at + value.size())) {
      out.replace(at, name.size(), value);
    }
  }
  return out;
}

// Everything of the node is below its folder, whatever name it has in the node itself.
constexpr std::string_view kNodeScript = R"(# The first process of @NODE@.
set -e
trap 'exit 0' TERM
node=@NODE_FOLDER@
# This shell's id in the caller's process namespace, whose /proc this still is.
read -r pid rest </proc/self/stat
echo "$pid" >"$node/first.new"

# Pods of the host's network see it.
hostname @NODE@
mount --make-rprivate /
mkdir -p "$node/run/sluice-lab" "$node/lib" "$node/log" "$node/cgroup" "$node/settings"
# What a pod needs of the machine's other folders (/lib/modules, say) is made for the node alone.
for folder in /etc /opt /usr; do
	mkdir -p "$node/changed$folder" "$node/changed$folder.work"
	mount -t overlay overlay -o "lowerdir=$folder,upperdir=$node/changed$folder,workdir=$node/changed$folder.work" "$folder"
done
mount --rbind /run/sluice-lab "$node/run/sluice-lab"
mount --bind "$node/lib" /var/lib
mount --bind "$node/log" /var/log
mount -t proc proc /proc
# Of this network namespace; the control groups stay the machine's.
mount --rbind /sys/fs/cgroup "$node/cgroup"
umount --recursive --lazy /sys
mount -t sysfs sysfs /sys
mount --move "$node/cgroup" /sys/fs/cgroup
mount -t bpf bpf /sys/fs/bpf 2>/dev/null || true
# The kubelet writes settings that are not a namespace's but the machine's. Here it finds its values in place.
setting() {
	echo "$2" >"$node/settings/${1##*/}"
	mount --bind "$node/settings/${1##*/}" "/proc/sys/$1"
}
setting vm/overcommit_memory 1
setting vm/panic_on_oom 0
setting kernel/panic 10
setting kernel/panic_on_oops 1
setting kernel/keys/root_maxkeys 1000000
setting kernel/keys/root_maxbytes 25000000
mount --rbind "$node/run" /run
mount --make-rshared /
mv "$node/first.new" "$node/first"

# A program that must not end.
run() {
	name=$1
	shift
	(
		"$@" >>"$node/$name.log" 2>&1 || true
		echo "$name has ended:"
		tail -n 5 "$node/$name.log"
		kill -TERM 1
	) &
}
run containerd containerd --config "$node/containerd.toml"
# The pods' bridge: without a link-local address, which the lab's devices do not get, a forwarding node finds no pod by IPv6.
ip link add cni0 type bridge
ip link set cni0 addrgenmode eui64
ip link set cni0 up
until ctr version >/dev/null 2>&1; do sleep 0.1; done
for image in @FOLDER@/images/*; do ctr --namespace k8s.io images import "$image"; done
run kubelet @PROGRAMS@/kubelet --config="$node/kubelet.yaml" --kubeconfig=@FOLDER@/@NODE@.kubeconfig --hostname-override=@NODE@ \
	--node-ip=@ADDRESSES@ --container-runtime=remote --container-runtime-endpoint=unix:///run/containerd/containerd.sock
wait # also for processes whose parents have ended
)";

// restrict_oom_score_adj: a machine that is a container itself may not lower it.
constexpr std::string_view kContainerd = R"(version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
[grpc]
address = "/run/containerd/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
restrict_oom_score_adj = true
sandbox_image = "k8s.gcr.io/pause:3.2"
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/usr/lib/cni"
conf_dir = "@NODE_FOLDER@/cni"
)";

// Nothing is evicted and no image removed because the machine's disk is nearly full. syncFrequency: where a container of a
// pod that is deleted is already gone, the kubelet fails, and waits that long (usually a minute) before it tries again.
constexpr std::string_view kKubelet = R"(apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: @FOLDER@/ca.crt}}
authorization: {mode: Webhook}
cgroupDriver: cgroupfs
cgroupRoot: /@CGROUP@/@NODE@
clusterDNS: [@DNS@]
clusterDomain: cluster.local
failSwapOn: false
featureGates: {IPv6DualStack: true}
enforceNodeAllocatable: []
evictionHard: {memory.available: "0%", nodefs.available: "0%", nodefs.inodesFree: "0%", imagefs.available: "0%"}
imageGCHighThresholdPercent: 100
resolvConf: @NODE_FOLDER@/resolv.conf
syncFrequency: 5s
)";

constexpr std::string_view kPodNetwork = R"({
  "cniVersion": "0.4.0",
  "name": "pods",
  "plugins": [
    {
      "type": "bridge", "bridge": "cni0", "isDefaultGateway": true, "hairpinMode": true, "ipMasq": false,
      "ipam": {"type": "host-local", "ranges": [@PODS@]}
    },
    {"type": "portmap", "capabilities": {"portMappings": true}}
  ]
}
)";

// maxPerCore: a network namespace has no limit of its own for connections, and kube-proxy ends where it cannot set one.
constexpr std::string_view kObjects = R"(apiVersion: v1
kind: ServiceAccount
metadata: {name: kube-proxy, namespace: kube-system}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: "kubeadm:node-proxier"}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: "system:node-proxier"}
subjects:
- {kind: ServiceAccount, name: kube-proxy, namespace: kube-system}
---
apiVersion: v1
kind: ConfigMap
metadata:
  name: kube-proxy
  namespace: kube-system
  labels: {app: kube-proxy}
data:
  config.conf: |
    apiVersion: kubeproxy.config.k8s.io/v1alpha1
    kind: KubeProxyConfiguration
    clientConnection:
      kubeconfig: /var/lib/kube-proxy/kubeconfig.conf
    clusterCIDR: @ALL_PODS@
    conntrack:
      maxPerCore: 0
    featureGates: {IPv6DualStack: true}
    mode: ""
  kubeconfig.conf: |
    apiVersion: v1
    kind: Config
    clusters:
    - cluster:
        certificate-authority: /var/run/secrets/kubernetes.io/serviceaccount/ca.crt
        server: https://@MASTER@
      name: default
    contexts:
    - context:
        cluster: default
        namespace: default
        user: default
      name: default
    current-context: default
    users:
    - name: default
      user:
        tokenFile: /var/run/secrets/kubernetes.io/serviceaccount/token
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: kube-dns, namespace: kube-system}
---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: cluster-dns
  namespace: kube-system
  labels: {k8s-app: kube-dns}
spec:
  replicas: 2
  selector:
    matchLabels: {k8s-app: kube-dns}
  template:
    metadata:
      labels: {k8s-app: kube-dns}
    spec:
      serviceAccountName: kube-dns
      priorityClassName: system-cluster-critical
      dnsPolicy: Default
      terminationGracePeriodSeconds: 1
      containers:
      - name: dns
        image: localhost/cluster-dns:1
        imagePullPolicy: Never
        ports:
        - {name: dns, containerPort: 53, protocol: UDP}
        - {name: dns-tcp, containerPort: 53, protocol: TCP}
        readinessProbe:
          exec: {command: [test, -s, /tmp/hosts]}
          periodSeconds: 1
---
apiVersion: v1
kind: Service
metadata:
  name: kube-dns
  namespace: kube-system
  labels: {k8s-app: kube-dns}
spec:
  clusterIP: @DNS@
  selector: {k8s-app: kube-dns}
  ports:
  - {name: dns, port: 53, protocol: UDP}
  - {name: dns-tcp, port: 53, protocol: TCP}
)";

std::string api_server(const ClusterPlan& plan) {
  return fmt::format("{}:{}", plan.master.addresses.front().to_string(), kApiPort);
}

std::string fill_for(std::string_view text, const ClusterPlan& plan, const ClusterNode& node) {
  std::string addresses;
  for (const IpAddress& address : node.addresses) {
    addresses += fmt::format("{}{}", addresses.empty() ? "" : ",", address.to_string());
  }
  std::string pods;
  for (const Cidr& range : node.pods) {
    pods += fmt::format(R"({}[{{"subnet": "{}"}}])", pods.empty() ? "" : ", ", range.to_string());
  }
  return fill(text, {{"@NODE_FOLDER@", node_folder(plan, node)},
                     {"@FOLDER@", plan.folder},
                     {"@PROGRAMS@", plan.programs},
                     {"@NODE@", node.name},
                     {"@ADDRESSES@", addresses},
                     {"@PODS@", pods},
                     {"@CGROUP@", cluster_cgroup(plan.id)},
                     {"@DNS@", kClusterDns}});
}

}  // namespace

Topology cluster_topology(unsigned nodes) {
  const Topology tour = walkthrough_topology();
  Topology topology{.nodes = {tour.nodes.begin(), tour.nodes.begin() + 1 + std::min(nodes, 2U)},
                    .pods = {},
                    .client_addresses = tour.client_addresses,
                    .service_ranges = tour.service_ranges,
                    .entry_node = "k8s-node1"};
  for (unsigned number = 3; number <= nodes; ++number) {
    topology.nodes.push_back(
        {fmt::format("k8s-node{}", number),
         {ip(fmt::format("192.168.231.{}", 121 + number)), ip(fmt::format("fd00:231::{}", 121 + number))}});
  }
  return topology;
}

ClusterPlan plan_cluster(const std::string& id, const std::string& lab_folder, unsigned nodes) {
  constexpr std::array<unsigned, kClusterNodesMax> kPodNetworks{169, 36, 103};  // the walkthrough's, and another one
  const Topology topology = cluster_topology(nodes);
  ClusterPlan plan{.id = id,
                   .folder = lab_folder + "/cluster",
                   .programs = lab_folder + "/cluster/programs",
                   .master = topology.nodes.front(),
                   .nodes = {}};
  for (std::size_t index = 1; index < topology.nodes.size(); ++index) {
    const NodeSpec& node = topology.nodes[index];
    const unsigned network = kPodNetworks.at(index - 1);
    plan.nodes.push_back({node.name,
                          node.addresses,
                          {Cidr(ip(fmt::format("10.244.{}.0", network)), kPodNetworkLength),
                           Cidr(ip(fmt::format("fd00:10:244:{}::", network)), kPodNetworkLength6)}});
  }
  return plan;
}

std::vector<ClusterUser> cluster_users(const ClusterPlan& plan) {
  std::vector<ClusterUser> users{{"admin", "admin", "system:masters", {}},
                                 {"kube-controller-manager", "system:kube-controller-manager", "", {}},
                                 {"kube-scheduler", "system:kube-scheduler", "", {}}};
  for (const ClusterNode& node : plan.nodes) {
    users.push_back({node.name, "system:node:" + node.name, "system:nodes", {}});
  }
  return users;
}

std::string tokens_file(const std::vector<ClusterUser>& users) {
  std::string out;
  for (const ClusterUser& user : users) {
    out += fmt::format("{},{},{}{}{}\n", user.token, user.name, user.file, user.group.empty() ? "" : ",", user.group);
  }
  return out;
}

std::string kubeconfig(const ClusterPlan& plan, const ClusterUser& user) {
  return fill(R"(apiVersion: v1
kind: Config
clusters:
- name: lab
  cluster: {server: "https://@SERVER@", certificate-authority: "@FOLDER@/ca.crt"}
users:
- name: user
  user: {token: "@TOKEN@"}
contexts:
- name: default
  context: {cluster: lab, user: user}
current-context: default
)",
              {{"@SERVER@", api_server(plan)}, {"@FOLDER@", plan.folder}, {"@TOKEN@", user.token}});
}

// Nothing of it outlives the lab, so nothing is written through to the disk.
ClusterProgram etcd_program(const ClusterPlan& plan) {
  return {"etcd", {"etcd", fmt::format("--data-dir={}/etcd", plan.folder), "--unsafe-no-fsync"}};
}

ClusterProgram api_server_program(const ClusterPlan& plan) {
  const auto file = [&plan](std::string_view option, std::string_view name) {
    return fmt::format("--{}={}/{}", option, plan.folder, name);
  };
  return {"kube-apiserver",
          {plan.programs + "/kube-apiserver",
           "--etcd-servers=http://127.0.0.1:2379",
           std::string(kDualStackGate),
           fmt::format("--service-cluster-ip-range={}", kClusterServices),
           "--bind-address=0.0.0.0",
           fmt::format("--secure-port={}", kApiPort),
           fmt::format("--advertise-address={}", plan.master.addresses.front().to_string()),
           file("cert-dir", "certs"),
           file("tls-cert-file", "apiserver.crt"),
           file("tls-private-key-file", "apiserver.key"),
           file("client-ca-file", "ca.crt"),
           file("token-auth-file", "tokens.csv"),
           "--authorization-mode=Node,RBAC",
           "--enable-admission-plugins=NodeRestriction",
           "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
           file("service-account-key-file", "sa.key"),
           file("service-account-signing-key-file", "sa.key"),
           "--allow-privileged=true",
           file("kubelet-client-certificate", "kubelet-client.crt"),
           file("kubelet-client-key", "kubelet-client.key"),
           "--kubelet-preferred-address-types=InternalIP"}};
}

std::vector<ClusterProgram> controller_programs(const ClusterPlan& plan) {
  const auto kubeconfig_of = [&plan](std::string_view name) {
    return fmt::format("--kubeconfig={}/{}.kubeconfig", plan.folder, name);
  };
  return {
      {"kube-controller-manager",
       {plan.programs + "/kube-controller-manager", kubeconfig_of("kube-controller-manager"), "--leader-elect=false",
        fmt::format("--service-account-private-key-file={}/sa.key", plan.folder),
        fmt::format("--root-ca-file={}/ca.crt", plan.folder), "--use-service-account-credentials=true",
        std::string(kDualStackGate), fmt::format("--cluster-cidr={}", kClusterPods), "--allocate-node-cidrs=false",
        // Made where it is missing, and by default on the machine.
        fmt::format("--flex-volume-plugin-dir={}/volume-plugins", plan.folder)}},
      {"kube-scheduler", {plan.programs + "/kube-scheduler", kubeconfig_of("kube-scheduler"), "--leader-elect=false"}}};
}

std::string api_server_names(const ClusterPlan& plan) {
  return fmt::format(
      "DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local,"
      "IP:127.0.0.1,IP:10.96.0.1,IP:{}",
      plan.master.addresses.front().to_string());
}

std::string node_folder(const ClusterPlan& plan, const ClusterNode& node) {
  return fmt::format("{}/{}", plan.folder, node.name);
}

std::vector<std::pair<std::string, std::string>> node_files(const ClusterPlan& plan, const ClusterNode& node) {
  return {{"start.sh", fill_for(kNodeScript, plan, node)},
          {"containerd.toml", fill_for(kContainerd, plan, node)},
          {"kubelet.yaml", fill_for(kKubelet, plan, node)},
          {"cni/10-pods.conflist", fill_for(kPodNetwork, plan, node)},
          {"resolv.conf", ""}};
}

ClusterProgram node_program(const ClusterPlan& plan, const ClusterNode& node) {
  return {
      "node",
      {"unshare", "--mount", "--pid", "--uts", "--fork", "--kill-child", "sh", node_folder(plan, node) + "/start.sh"}};
}

std::string base_objects(const ClusterPlan& plan) {
  return fill(kObjects, {{"@MASTER@", api_server(plan)}, {"@ALL_PODS@", kClusterPods}, {"@DNS@", kClusterDns}});
}

std::string cluster_cgroup(std::string_view id) {
  return fmt::format("sluice-{}", id);
}

}  // namespace sluice::lab
