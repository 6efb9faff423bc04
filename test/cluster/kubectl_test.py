#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""End to end: real etcd, kube-apiserver 1.20.2 and kubectl; `sluice proxy` on two nodes, started as kubeadm starts kube-proxy; real
traffic from pods, nodes and an outside client. Each test creates Services with kubectl and watches traffic follow."""

import collections
import json
import os
import pathlib
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE / "lib"), str(HERE.parent / "scenario")]
from objects import endpoint_slice, service, with_ingress  # noqa: E402
from refusal import refused_by_xtables  # noqa: E402
from rig import ANSWER_PATIENCE, PATIENCE, SILENCE, ControlPlane, Rig, inside, run, wait_for  # noqa: E402

SLUICE = os.environ["SLUICE"]
NODES = {"node1": "192.168.231.122", "node2": "192.168.231.123"}
MASTER, CLIENT = "192.168.231.121", "192.168.231.200"
PODS = {"web-a": ("node1", "10.244.1.5"), "web-b": ("node1", "10.244.1.6"), "web-c": ("node2", "10.244.2.5"), "client-pod": ("node1", "10.244.1.9")}

# What kubeadm 1.20 writes into the ConfigMap kube-proxy: everything that was not set is there as null or zero.
KUBEADM_CONFIG = """apiVersion: kubeproxy.config.k8s.io/v1alpha1
bindAddress: 0.0.0.0
bindAddressHardFail: false
clientConnection:
  acceptContentTypes: ""
  burst: 0
  contentType: ""
  kubeconfig: {folder}/kubeconfig.conf
  qps: 0
clusterCIDR: 10.244.0.0/16
configSyncPeriod: 0s
conntrack:
  maxPerCore: 0
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
"""


class Cluster:
    def __init__(self, folder, when_over):
        """Calls when_over(function) for everything that has to be undone, as soon as it exists, so that a failure here leaves nothing."""
        self.folder = pathlib.Path(folder)
        self.rig = Rig("slkctl")
        rig = self.rig
        when_over(rig.close)
        rig.add_node("master", f"{MASTER}/24")
        for name, address in NODES.items():
            rig.add_node(name, f"{address}/24", others=["192.168.122.1/24"] if name == "node1" else [])
        rig.add_client("client", f"{CLIENT}/24")
        rig.add_router("192.168.231.1")
        for name, (node, address) in PODS.items():
            rig.add_pod(name, node, address)
            rig.serve(name, 8080)
        for host in ("master", "node1", "node2"):
            for node, prefix in (("node1", "10.244.1.0/24"), ("node2", "10.244.2.0/24")):
                if host != node:
                    rig.route(host, prefix, NODES[node])
        self.plane = ControlPlane(rig, "master", MASTER, self.folder / "cluster")
        when_over(self.plane.close)
        for name, address in NODES.items():
            self.plane.add_node_object(name, address)
        kubeadm = self.folder / "kube-proxy"
        kubeadm.mkdir()
        shutil.copy(self.plane.state / "proxy.kubeconfig", kubeadm / "kubeconfig.conf")
        (kubeadm / "config.conf").write_text(KUBEADM_CONFIG.format(folder=kubeadm))
        self.proxies = {node: self.start_proxy(node) for node in NODES}
        for node in NODES:
            self.wait_synced(node)

    def start_proxy(self, node, *more, environment=None):
        return self.rig.spawn(node, [SLUICE, "proxy", f"--config={self.folder}/kube-proxy/config.conf", f"--hostname-override={node}", *more],
                              self.folder / f"{node}.log", {"XTABLES_LOCKFILE": str(self.folder / f"{node}.lock"), **(environment or {})})

    def wait_synced(self, node):
        def synced():
            try:
                status, text = self.rig.get(node, 10249, "/metrics")
            except OSError:
                return False
            return status == 200 and "\nkubeproxy_sync_proxy_rules_last_timestamp_seconds" in text
        wait_for(f"{node}'s first sync; log:\n{self.log(node)}", synced)

    def log(self, node):
        path = self.folder / f"{node}.log"
        return path.read_text() if path.exists() else ""

    def counts(self, host, protocol, address, port, requests=24, timeout=ANSWER_PATIENCE):
        return collections.Counter(self.rig.probe(host, protocol, address, port, timeout)[0] for _ in range(requests))

    def wait_answers(self, host, protocol, address, port, wanted):
        """Waits until exactly the wanted pods (or "refused", "timeout") answer.

        A request that was made too early never gets a reply: the kernel tracks it, and no later rule translates it.
        """
        wanted = {wanted} if isinstance(wanted, str) else set(wanted)
        return wait_for(f"{host} -> {address}:{port}/{protocol} answered by {sorted(wanted)}",
                        lambda: set(self.counts(host, protocol, address, port, 8 * len(wanted) if len(wanted) > 1 else 3, SILENCE)) == wanted)


class KubectlTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.temporary = tempfile.TemporaryDirectory(prefix="sluice-kubectl-")
        cls.addClassCleanup(cls.temporary.cleanup)
        cls.cluster = Cluster(cls.temporary.name, cls.addClassCleanup)
        cls.rig, cls.plane = cls.cluster.rig, cls.cluster.plane

    def apply(self, *objects):
        """kubectl apply; what it makes is deleted after the test."""
        self.plane.apply(*objects)
        for made in objects:
            self.addCleanup(self.plane.kubectl, "delete", made["kind"], made["metadata"]["name"], "--ignore-not-found", "--wait=false")

    def endpoints(self, name, *pods, ports=(("p", "TCP", 8080),)):
        return endpoint_slice(name, ports, [(PODS[p][1], PODS[p][0]) for p in pods])

    def test_create_scale_edit_and_delete_a_service(self):
        self.apply(service("web", "10.104.247.10", ("p", "TCP", 80, 31947), type="NodePort"), self.endpoints("web", "web-a", "web-b"))
        self.cluster.wait_answers("client-pod", "TCP", "10.104.247.10", 80, ["web-a", "web-b"])
        for address in (NODES["node1"], NODES["node2"]):
            self.cluster.wait_answers("client", "TCP", address, 31947, ["web-a", "web-b"])
        self.cluster.wait_answers("node1", "TCP", "192.168.122.1", 31947, ["web-a", "web-b"])
        self.apply(self.endpoints("web", "web-b", "web-c"))
        self.cluster.wait_answers("client-pod", "TCP", "10.104.247.10", 80, ["web-b", "web-c"])
        self.plane.kubectl("patch", "service", "web", "--type=json", "-p", '[{"op":"replace","path":"/spec/ports/0/port","value":8000}]')
        self.cluster.wait_answers("client-pod", "TCP", "10.104.247.10", 8000, ["web-b", "web-c"])
        self.plane.kubectl("delete", "service", "web")
        wait_for("the node port is gone", lambda: self.rig.probe("client", "TCP", NODES["node1"], 31947, SILENCE)[0] == "refused")
        self.assertNotIn("default/web", run("ip", "netns", "exec", self.rig.ns("node1"), "iptables-save"))

    def test_the_service_kubernetes_reaches_the_api_server(self):
        # The API server made this Service and its slice itself.
        def accepts():
            try:
                inside(self.rig.ns("client-pod"), socket.create_connection, ("10.96.0.1", 443), SILENCE).close()
            except OSError:
                return False
            return True
        wait_for("10.96.0.1:443 accepts", accepts)

    def test_udp_follows_an_endpoint_change_on_the_same_socket(self):
        udp = (("dns", "UDP", 8080),)
        self.apply(service("dns", "10.96.0.10", ("dns", "UDP", 53)), self.endpoints("dns", "web-a", ports=udp))
        self.cluster.wait_answers("client-pod", "UDP", "10.96.0.10", 53, "web-a")
        # A client that keeps its socket keeps its conntrack entry, and with it the old pod, unless the proxy deletes it.
        client = inside(self.rig.ns("client-pod"), socket.socket, socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(client.close)
        client.settimeout(1)
        client.connect(("10.96.0.10", 53))

        def ask_again():
            client.send(b"who?")
            try:
                return client.recv(256).decode().split()[0]
            except TimeoutError:
                return "timeout"
        wait_for("the socket reaches the old pod", lambda: ask_again() == "web-a")
        self.apply(self.endpoints("dns", "web-c", ports=udp))
        wait_for("the same socket reaches the new pod", lambda: ask_again() == "web-c")

    def test_no_endpoints_refuses_at_once(self):
        self.apply(service("empty", "10.96.3.3", ("p", "TCP", 80, 31950), type="NodePort"))
        self.cluster.wait_answers("client-pod", "TCP", "10.96.3.3", 80, "refused")
        self.cluster.wait_answers("client", "TCP", NODES["node1"], 31950, "refused")

    def test_external_traffic_policy_local_keeps_the_client_address(self):
        self.apply(service("lb", "10.96.4.4", ("p", "TCP", 80, 31960), type="LoadBalancer", externalTrafficPolicy="Local", healthCheckNodePort=32060),
                         self.endpoints("lb", "web-c"))
        with_ingress(self.plane, "lb", "203.0.113.80")
        self.cluster.wait_answers("client", "TCP", NODES["node2"], 31960, "web-c")
        self.assertEqual(self.rig.probe("client", "TCP", NODES["node2"], 31960), ("web-c", CLIENT))
        self.cluster.wait_answers("client", "TCP", NODES["node1"], 31960, "timeout")
        # Pods and nodes are inside the cluster: they are short-circuited to endpoints elsewhere.
        self.cluster.wait_answers("client-pod", "TCP", "203.0.113.80", 80, "web-c")
        self.cluster.wait_answers("node1", "TCP", "203.0.113.80", 80, "web-c")
        wait_for("the health-check node port distinguishes the nodes",
                 lambda: [self.status_of(node, 32060, "/", NODES[node]) for node in ("node2", "node1")] == [200, 503])

    def test_session_affinity_sticks(self):
        self.apply(service("sticky", "10.96.5.5", ("p", "TCP", 80), sessionAffinity="ClientIP"), self.endpoints("sticky", "web-a", "web-b", "web-c"))
        wait_for("an answer", lambda: self.rig.probe("client-pod", "TCP", "10.96.5.5", 80, SILENCE)[0].startswith("web"))
        self.assertEqual(len(self.cluster.counts("client-pod", "TCP", "10.96.5.5", 80, 30)), 1)

    def test_kill_and_restart_never_stops_traffic(self):
        self.apply(service("web2", "10.104.247.11", ("p", "TCP", 80)), self.endpoints("web2", "web-a", "web-b"))
        self.cluster.wait_answers("client-pod", "TCP", "10.104.247.11", 80, ["web-a", "web-b"])
        # A request that was made before there were rules is tracked without translation for another two minutes.
        run("ip", "netns", "exec", self.rig.ns("node1"), "conntrack", "-F")
        # Without rules the node sends a packet for the Service on to its router. No time limit of a client distinguishes that from a busy machine.
        in_router = ("ip", "netns", "exec", self.rig.ns("router"), "nft")
        run(*in_router, "-f", "-", input="table ip missed { chain in { type filter hook prerouting priority 0; ip daddr 10.104.247.11 counter; }; }\n")
        self.addCleanup(run, *in_router, "delete table ip missed")
        failures, stop = [], threading.Event()

        def traffic():
            while not stop.wait(0.01):
                who, _ = self.rig.probe("client-pod", "TCP", "10.104.247.11", 80)
                if not who.startswith("web"):
                    failures.append((time.time(), who))
        thread = threading.Thread(target=traffic)
        thread.start()
        try:
            for round_number in range(3):
                self.rig.stop(self.cluster.proxies["node1"], signal.SIGKILL)
                self.apply(self.endpoints("web2", *(["web-b", "web-c"] if round_number % 2 == 0 else ["web-a", "web-b"])))
                self.cluster.proxies["node1"] = self.cluster.start_proxy("node1")
                self.cluster.wait_answers("client-pod", "TCP", "10.104.247.11", 80, ["web-b", "web-c"] if round_number % 2 == 0 else ["web-a", "web-b"])
        finally:
            stop.set()
            thread.join()
        self.assertEqual(failures, [])
        self.assertIn("counter packets 0 bytes 0", run(*in_router, "list table ip missed"))

    def test_sigterm_leaves_the_rules_and_a_restart_changes_none(self):
        self.apply(service("web3", "10.104.247.12", ("p", "TCP", 80)), self.endpoints("web3", "web-a"))
        self.cluster.wait_answers("client-pod", "TCP", "10.104.247.12", 80, "web-a")
        rules = ["ip", "netns", "exec", self.rig.ns("node1"), "nft", "-a", "list", "ruleset"]
        before = run(*rules)
        self.assertEqual(self.rig.stop(self.cluster.proxies["node1"]), 0)
        self.assertEqual(handles(run(*rules)), handles(before))
        self.assertEqual(self.rig.probe("client-pod", "TCP", "10.104.247.12", 80)[0], "web-a")
        self.cluster.proxies["node1"] = self.cluster.start_proxy("node1")
        self.cluster.wait_synced("node1")
        self.assertEqual(handles(run(*rules)), handles(before))

    def test_the_same_yaml_from_files_and_from_the_api_server_gives_the_same_rules(self):
        self.apply(service("one", "10.96.7.1", ("p", "TCP", 80, 31971), type="NodePort"), self.endpoints("one", "web-a", "web-c"),
                   service("two", "10.96.7.2", ("u", "UDP", 53), sessionAffinity="ClientIP"), self.endpoints("two", "web-b", ports=(("u", "UDP", 8080),)),
                   service("three", "10.96.7.3", ("p", "TCP", 80, 31973), type="LoadBalancer", externalTrafficPolicy="Local", healthCheckNodePort=32073,
                           loadBalancerSourceRanges=["192.168.231.0/25"]), self.endpoints("three", "web-c"),
                   service("four", "10.96.7.4", ("p", "TCP", 80), externalIPs=["203.0.113.74"]))
        with_ingress(self.plane, "three", "203.0.113.73")
        wait_for("node1 has heard of all", lambda: "203.0.113.73" in self.rules("node1") and "10.96.7.4" in self.rules("node1", "filter"))
        self.cluster.wait_answers("client-pod", "UDP", "10.96.7.2", 53, "web-b")
        self.rig.stop(self.cluster.proxies["node1"])
        self.sluice("node1", "cleanup")
        self.assertNotIn("KUBE-", run("ip", "netns", "exec", self.rig.ns("node1"), "iptables-save"))
        manifests = self.cluster.folder / "manifests"
        manifests.mkdir()
        (manifests / "all.yaml").write_text(self.plane.kubectl("get", "services,endpointslices", "-A", "-o", "yaml"))
        self.cluster.proxies["node1"] = self.cluster.start_proxy("node1")
        self.cluster.wait_synced("node1")
        from_api = self.rules("node1") + self.rules("node1", "filter")
        self.rig.stop(self.cluster.proxies["node1"])
        self.sluice("node1", "cleanup")
        try:
            self.cluster.proxies["node1"] = self.cluster.start_proxy("node1", f"--manifests={manifests}")
            self.cluster.wait_synced("node1")
            self.assertEqual(self.rules("node1") + self.rules("node1", "filter"), from_api)
        finally:
            self.rig.stop(self.cluster.proxies["node1"])
            self.cluster.proxies["node1"] = self.cluster.start_proxy("node1")
            self.cluster.wait_synced("node1")

    def rules(self, node, table="nat"):
        saved = run("ip", "netns", "exec", self.rig.ns(node), "iptables-save", "-t", table)
        return "\n".join(line for line in saved.splitlines() if not line.startswith(("#", ":")))

    def sluice(self, node, *words):
        return run("ip", "netns", "exec", self.rig.ns(node), SLUICE, *words)

    def test_the_log_announces_the_mode_as_kube_proxy_does(self):
        for words in ("Using iptables proxy", "Using iptables Proxier"):
            self.assertIn(words, self.cluster.log("node1"))
        self.assertEqual(self.rig.get("node1", 10249, "/proxyMode"), (200, "iptables"))

    def test_the_start_is_an_event_of_the_node(self):
        wait_for("kubectl describe shows the event", lambda: "Starting" in self.plane.kubectl("describe", "node", "node1"))

    def test_a_port_that_must_be_had_and_is_not_ends_the_proxy_with_an_event(self):
        """The event is sent although the program ends at once; alerts look for kube-proxy's name of it."""
        log = self.cluster.folder / "hard-fail.log"
        proxy = self.rig.spawn("node1", [SLUICE, "proxy", f"--kubeconfig={self.plane.state}/proxy.kubeconfig", "--hostname-override=node1",
                                         "--bind-address-hard-fail"], log, {"XTABLES_LOCKFILE": str(self.cluster.folder / "node1.lock")})
        self.assertEqual(proxy.wait(PATIENCE), 1)
        self.rig.processes.remove(proxy)
        self.assertIn("Address already in use", log.read_text())
        self.assertIn("FailedToStartProxierHealthcheck", self.plane.kubectl("describe", "node", "node1"))

    def test_a_proxy_that_starts_while_another_ends_takes_over_all_that_it_served(self):
        second = self.rig.spawn("node2", [SLUICE, "proxy", f"--kubeconfig={self.plane.state}/proxy.kubeconfig", "--hostname-override=node2",
                                          "--cluster-cidr=10.244.0.0/16"], self.cluster.folder / "second.log",
                                {"XTABLES_LOCKFILE": str(self.cluster.folder / "node2.lock")})
        try:
            wait_for("the second one runs", lambda: "trying again" in (self.cluster.folder / "second.log").read_text())
            self.rig.stop(self.cluster.proxies["node2"])
            wait_for("healthz", lambda: self.status_of("node2", 10256, "/healthz") == 200)
            wait_for("metrics", lambda: self.status_of("node2", 10249, "/metrics") == 200)
            wait_for("sluice status", lambda: "mode iptables" in run("ip", "netns", "exec", self.rig.ns("node2"), SLUICE, "status", check=False))
        finally:
            self.rig.stop(second)
            self.cluster.proxies["node2"] = self.cluster.start_proxy("node2")
            self.cluster.wait_synced("node2")

    def status_of(self, node, port, path, address="127.0.0.1"):
        try:
            return self.rig.get(node, port, path, address)[0]
        except OSError as error:
            return str(error)

    def test_a_configuration_file_that_is_written_ends_it_and_one_that_is_swapped_does_not(self):
        """As in kube-proxy: editing the file means a restart; a ConfigMap that kubelet swaps does not count."""
        folder = self.cluster.folder / "edited"
        for version, mode in (("v1", '""'), ("v2", "ipvs")):
            (folder / version).mkdir(parents=True)
            (folder / version / "config.conf").write_text(KUBEADM_CONFIG.format(folder=self.cluster.folder / "kube-proxy").replace('mode: ""', f"mode: {mode}"))
        (folder / "manifests").mkdir()
        (folder / "..data").symlink_to("v1")
        config, log = folder / "config.conf", folder / "log"
        config.symlink_to("..data/config.conf")
        proxy = self.rig.spawn("master", [SLUICE, "proxy", f"--config={config}", "--hostname-override=master", f"--manifests={folder / 'manifests'}"],
                               log, {"XTABLES_LOCKFILE": str(folder / "lock")})
        self.addCleanup(lambda: proxy.poll() is None and self.rig.stop(proxy))
        self.cluster.wait_synced("master")
        (folder / "..new").symlink_to("v2")
        (folder / "..new").rename(folder / "..data")
        time.sleep(0.5)
        self.assertIsNone(proxy.poll())
        config.unlink()
        config.write_text((folder / "v1/config.conf").read_text() + "# by hand\n")
        self.assertEqual(proxy.wait(PATIENCE), 1)
        self.assertIn("content of the proxy server's configuration file was updated", log.read_text())

    def test_an_object_that_nobody_can_serve_stops_no_other(self):
        self.apply(service("odd", "10.96.6.6", ("p", "SCTP", 80)), endpoint_slice("odd", [("p", "SCTP", 8080)], [(PODS["web-a"][1], "node1")]),
                         service("well", "10.96.6.7", ("p", "TCP", 80)), self.endpoints("well", "web-a"))
        self.cluster.wait_answers("client-pod", "TCP", "10.96.6.7", 80, "web-a")

    def test_a_service_that_the_kernel_refuses_has_one_event_however_often_it_is_tried(self):
        """system:node-proxier may write it, who describes the Service sees it, and no further attempt makes another."""
        self.rig.stop(self.cluster.proxies["node1"])
        self.cluster.proxies["node1"] = self.cluster.start_proxy("node1", environment=refused_by_xtables("stuck", self.cluster.folder, ()))
        try:
            self.cluster.wait_synced("node1")
            # Endpoints first: without them another rule is refused, which is another reason and another event.
            self.apply(self.endpoints("stuck", "web-a"), service("beside", "10.96.6.9", ("p", "TCP", 80)), self.endpoints("beside", "web-a"))
            self.cluster.wait_answers("client-pod", "TCP", "10.96.6.9", 80, "web-a")
            self.apply(service("stuck", "10.96.6.8", ("p", "TCP", 80)))

            def attempts():
                status = json.loads(run("ip", "netns", "exec", self.rig.ns("node1"), SLUICE, "status", "-o", "json", check=False))
                return [each["attempts"] for family in status["families"] for each in family["refusedPorts"]]
            wait_for("it was tried four times", lambda: [n for n in attempts() if n >= 4])
            listed = json.loads(self.plane.kubectl("get", "events", "-o", "json", "--field-selector", "involvedObject.name=stuck"))["items"]
            self.assertEqual([(each["reason"], each["type"], each["involvedObject"]["kind"]) for each in listed], [("ServicePortRefused", "Warning", "Service")],
                             [each["message"] for each in listed])
            self.assertIn("node node1 does not serve port default/stuck:p (TCP) in IPv4", listed[0]["message"])
            described = self.plane.kubectl("describe", "service", "stuck")
            self.assertRegex(described, r"Warning +ServicePortRefused")
        finally:
            self.rig.stop(self.cluster.proxies["node1"])
            self.cluster.proxies["node1"] = self.cluster.start_proxy("node1")
            self.cluster.wait_synced("node1")


def handles(ruleset):
    """Rules with their kernel handles, without the counters: a rewritten rule has another handle."""
    return [line.split("counter packets")[0] + line[line.rfind("# handle"):] for line in ruleset.splitlines() if "# handle" in line]


if __name__ == "__main__":
    unittest.main(verbosity=2)
