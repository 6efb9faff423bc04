#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Programming latency side by side: the real kube-proxy 1.20.2 and Sluice, one after the other, on the same API server, the same
objects and the same node.

For each size a control plane (etcd, kube-apiserver 1.20.2) is filled with N Services of M endpoints. Then each proxy runs in the
network namespace of a small node, and four figures are taken as a user would feel them:
  all programmed   from the process' start until the kernel holds the rules of every Service (asked of the kernel)
  one change       from the PUT of an EndpointSlice until a new connection through the cluster IP lands on the new pod
  resident memory  of the proxy process after the changes (VmRSS)
  CPU              seconds that the proxy and its children used by then
Everything lives in network namespaces of its own; load is bounded; all is removed at the end.

usage: programming_latency.py [--sizes 100,1000,5000] [--endpoints 10] [--flavour legacy|nft] [--rounds 10] [--sluice PATH]
"""

import argparse
import contextlib
import ctypes
import http.client
import json
import os
import pathlib
import queue
import re
import shutil
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
PREFIX = f"slbench{os.getpid()}"
NODE, CLIENT, PODS = f"{PREFIX}-node", f"{PREFIX}-client", {"podA": "10.191.255.1", "podB": "10.191.255.2"}
CLIENT_ADDRESS, NODE_ADDRESS, FLIP_ADDRESS = "10.191.255.3", "192.0.2.2", "10.96.255.250"
SLICES = "/apis/discovery.k8s.io/v1beta1/namespaces/load/endpointslices"
PROGRAMMED_SECONDS_MAX, FLIP_SECONDS_MAX = 1500, 1500
CLONE_NEWNET = 0x40000000


def say(text):
    print(f"[{time.strftime('%H:%M:%S')}] {text}", flush=True)


def run(*words, **options):
    return subprocess.run([str(w) for w in words], check=True, text=True, capture_output=True, **options).stdout


def enter(netns):
    libc = ctypes.CDLL(None, use_errno=True)
    fd = os.open(f"/run/netns/{netns}", os.O_RDONLY)
    try:
        if libc.setns(fd, CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), f"setns {netns}")
    finally:
        os.close(fd)


class Node:
    """One node with two pods and a client behind it, each a network namespace; the pods answer their own name."""

    def __enter__(self):
        run("ip", "netns", "add", NODE)
        run("ip", "-n", NODE, "link", "set", "lo", "up")
        run("ip", "-n", NODE, "addr", "add", f"{NODE_ADDRESS}/32", "dev", "lo")
        run("ip", "netns", "exec", NODE, "sysctl", "-qw", "net.ipv4.ip_forward=1")
        hosts = {**PODS, "client": CLIENT_ADDRESS}
        for index, (name, address) in enumerate(hosts.items()):
            netns, port = f"{PREFIX}-{name}", f"c{index}"
            run("ip", "netns", "add", netns)
            run("ip", "link", "add", port, "netns", NODE, "type", "veth", "peer", "name", "eth0", "netns", netns)
            run("ip", "-n", NODE, "link", "set", port, "up")
            run("ip", "-n", NODE, "addr", "add", "169.254.1.1/32", "dev", port)
            run("ip", "-n", NODE, "route", "add", f"{address}/32", "dev", port)
            run("ip", "-n", netns, "addr", "add", f"{address}/32", "dev", "eth0")
            run("ip", "-n", netns, "link", "set", "eth0", "up")
            run("ip", "-n", netns, "link", "set", "lo", "up")
            run("ip", "-n", netns, "route", "add", "169.254.1.1", "dev", "eth0", "scope", "link")
            run("ip", "-n", netns, "route", "add", "default", "via", "169.254.1.1", "dev", "eth0")
        for name in PODS:
            threading.Thread(target=self.serve, args=(name,), daemon=True).start()
        return self

    @staticmethod
    def serve(name):
        enter(f"{PREFIX}-{name}")
        with socket.create_server(("", 8080), backlog=1024) as server:
            while True:
                connection, _ = server.accept()
                with connection, contextlib.suppress(OSError):
                    connection.sendall(name.encode() + b"\n")

    def __exit__(self, *_):
        for netns in (NODE, CLIENT, *(f"{PREFIX}-{name}" for name in PODS)):
            pids = subprocess.run(["ip", "netns", "pids", netns], text=True, capture_output=True).stdout.split()
            for pid in pids:
                if int(pid) != os.getpid():
                    subprocess.run(["kill", "-9", pid], stderr=subprocess.DEVNULL)
            subprocess.run(["ip", "netns", "del", netns], stderr=subprocess.DEVNULL)

    @staticmethod
    def flush():
        for tool in ("iptables-legacy", "iptables-nft"):
            for table in ("nat", "filter", "mangle"):
                for action in ("-F", "-X"):
                    subprocess.run(["ip", "netns", "exec", NODE, tool, "-t", table, action], capture_output=True)
        subprocess.run(["ip", "netns", "exec", NODE, "conntrack", "-F"], capture_output=True)


class ControlPlane:
    """etcd and kube-apiserver inside the node's network namespace, reached from there."""

    def __init__(self, state):
        self.state = state
        self.script = ROOT / "test/cluster/lib/control-plane.sh"

    def __enter__(self):
        run(self.script, "up", self.state, "--netns", NODE, "--bind", NODE_ADDRESS)
        config = (self.state / "admin.kubeconfig").read_text()
        self.token = re.search(r"token: *\"?([^\s\"}]+)", config).group(1)
        self.port = int(re.search(r"server: *\"?https://[^\s\"]*:(\d+)", config).group(1))
        self.context = ssl._create_unverified_context()
        return self

    def __exit__(self, *_):
        subprocess.run([self.script, "down", self.state], capture_output=True)

    def connect(self):
        """A connection from inside the node, whichever namespace this thread is in afterwards."""
        connection = http.client.HTTPSConnection(NODE_ADDRESS, self.port, context=self.context, timeout=60)
        failure = []

        def dial():
            try:
                enter(NODE)
                connection.connect()
            except OSError as error:
                failure.append(error)

        thread = threading.Thread(target=dial)
        thread.start()
        thread.join()
        if failure:
            raise failure[0]
        return connection

    def request(self, connection, method, path, body=None):
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        connection.request(method, path, json.dumps(body) if body is not None else None, headers)
        response = connection.getresponse()
        data = response.read()
        if response.status >= 300 and response.status != 409:
            raise RuntimeError(f"{method} {path}: {response.status} {data[:300]!r}")

    def fill(self, services, endpoints):
        first = self.connect()
        self.request(first, "POST", "/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "load"}})
        node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node1"},
                "status": {"addresses": [{"type": "InternalIP", "address": NODE_ADDRESS}]}}
        self.request(first, "POST", "/api/v1/nodes", node)
        self.request(first, "PUT", "/api/v1/nodes/node1/status", node)
        work = queue.Queue()
        for index in range(services):
            work.put(index)
        errors = []

        def worker():
            connection = self.connect()
            while True:
                try:
                    index = work.get_nowait()
                except queue.Empty:
                    return
                try:
                    self.request(connection, "POST", "/api/v1/namespaces/load/services", service(f"s{index}", cluster_ip(index)))
                    self.request(connection, "POST", SLICES, endpoint_slice(f"s{index}", [endpoint_ip(index, j) for j in range(endpoints)]))
                except Exception as error:  # reported below; the thread must not die silently
                    errors.append(error)
                    return

        threads = [threading.Thread(target=worker) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if errors:
            raise errors[0]
        self.request(first, "POST", "/api/v1/namespaces/load/services", service("flip", FLIP_ADDRESS))
        self.request(first, "POST", SLICES, endpoint_slice("flip", [PODS["podA"]]))
        first.close()


def cluster_ip(index):
    index += 256
    return f"10.{96 + (index >> 16)}.{index >> 8 & 255}.{index & 255}"


def endpoint_ip(service_index, endpoint_index):
    number = service_index * 16 + endpoint_index
    return f"10.{128 + (number >> 16)}.{number >> 8 & 255}.{number & 255}"


def service(name, address):
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "load"},
            "spec": {"clusterIP": address, "ports": [{"name": "p", "port": 80, "protocol": "TCP", "targetPort": 8080}]}}


def endpoint_slice(name, addresses):
    return {"apiVersion": "discovery.k8s.io/v1beta1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"name": f"{name}-x", "namespace": "load", "labels": {"kubernetes.io/service-name": name}},
            "endpoints": [{"addresses": [a], "conditions": {"ready": True}} for a in addresses],
            "ports": [{"name": "p", "port": 8080, "protocol": "TCP"}]}


class Proxy:
    """A proxy process in the node; the same configuration file for both programs."""

    def __init__(self, name, command, flavour, folder, kubeconfig):
        self.name = name
        tools = folder / "tools"
        tools.mkdir(exist_ok=True)
        for tool in ("iptables", "ip6tables"):
            for suffix in ("", "-save", "-restore"):
                link = tools / f"{tool}{suffix}"
                link.unlink(missing_ok=True)
                link.symlink_to(shutil.which(f"{tool}-{flavour}{suffix}"))
        config = folder / "config.yaml"
        config.write_text(
            "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\nmode: iptables\n"
            f"clientConnection: {{kubeconfig: {kubeconfig}}}\nclusterCIDR: 10.128.0.0/9\nhostnameOverride: node1\n"
            "conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}\n")
        self.log = open(folder / f"{name}.log", "w")
        environment = {**os.environ, "PATH": f"{tools}:{os.environ['PATH']}"}
        self.started = time.time()
        self.process = subprocess.Popen(["ip", "netns", "exec", NODE, *command, "--config", str(config), "-v=2"],
                                        stdout=self.log, stderr=self.log, stdin=subprocess.DEVNULL, env=environment)
        self.flavour = flavour

    def wait_programmed(self, services):
        """Until the kernel's dispatch chain has a rule for every Service."""
        tool = [f"iptables-{self.flavour}", "-t", "nat", "-S", "KUBE-SERVICES"]
        while time.time() - self.started < PROGRAMMED_SECONDS_MAX:
            if self.process.poll() is not None:
                raise RuntimeError(f"{self.name} ended with {self.process.returncode}; see {self.log.name}")
            if self.synced_once():
                listed = subprocess.run(["ip", "netns", "exec", NODE, *tool], text=True, capture_output=True).stdout
                if listed.count("-j KUBE-SVC-") >= services:
                    return time.time() - self.started
            time.sleep(0.02)
        raise RuntimeError(f"{self.name} did not program {services} Services within {PROGRAMMED_SECONDS_MAX} s")

    def synced_once(self):
        """The proxy's own metric; asking it is cheap, asking the kernel for a large chain is not."""
        result = []

        def ask():
            with contextlib.suppress(OSError, http.client.HTTPException):
                enter(NODE)
                connection = http.client.HTTPConnection("127.0.0.1", 10249, timeout=5)
                connection.request("GET", "/metrics")
                text = connection.getresponse().read().decode()
                found = re.findall(r"^kubeproxy_sync_proxy_rules_last_timestamp_seconds(?:{[^}]*})? (\S+)", text, re.M)
                result.append(any(float(value) > 0 for value in found))

        thread = threading.Thread(target=ask)
        thread.start()
        thread.join()
        return bool(result and result[0])

    def figures(self):
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        stat = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        ticks = sum(int(value) for value in stat[11:15])  # utime, stime, and those of children that ended
        return int(re.search(r"VmRSS:\s+(\d+)", status).group(1)) / 1024, ticks / os.sysconf("SC_CLK_TCK")

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()


def ask_flip():
    try:
        with socket.create_connection((FLIP_ADDRESS, 80), timeout=1.0) as connection:
            return connection.recv(16).decode().strip()
    except OSError as error:
        return f"error {error}"


def measure_flips(plane, rounds):
    """Latencies in seconds, and how many connections failed while waiting."""
    latencies, failures, problem = [], 0, []

    def work():
        nonlocal failures
        connection = plane.connect()
        enter(CLIENT)
        current = ask_flip()
        if current not in PODS:
            problem.append(f"the flip Service answers {current!r}")
            return
        for _ in range(rounds):
            wanted = "podB" if current == "podA" else "podA"
            time.sleep(2.5)  # longer than minSyncPeriod, so that both proxies are at rest
            start = time.time()
            plane.request(connection, "PUT", f"{SLICES}/flip-x", endpoint_slice("flip", [PODS[wanted]]))
            while (answer := ask_flip()) != wanted:
                failures += answer not in PODS
                if time.time() - start > FLIP_SECONDS_MAX:
                    problem.append(f"no connection reached {wanted}")
                    return
            latencies.append(time.time() - start)
            current = wanted
        connection.close()

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    if problem:
        raise RuntimeError(problem[0])
    return latencies, failures


def measure(name, command, flavour, plane, folder, services, rounds):
    Node.flush()
    proxy = Proxy(name, command, flavour, folder, plane.state / "proxy.kubeconfig")
    try:
        programmed = proxy.wait_programmed(services)
        say(f"  {name}: {services} Services programmed after {programmed:.2f} s")
        latencies, failures = measure_flips(plane, rounds)
        memory, cpu = proxy.figures()
        say(f"  {name}: one change {statistics.median(latencies) * 1e3:.1f} ms median of {len(latencies)} "
            f"({min(latencies) * 1e3:.1f} to {max(latencies) * 1e3:.1f}), {failures} failed connections, {memory:.0f} MiB, {cpu:.2f} CPU s")
        return programmed, statistics.median(latencies), memory, cpu
    finally:
        proxy.stop()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", default="100,1000,5000", help="numbers of Services")
    parser.add_argument("--endpoints", type=int, default=10)
    parser.add_argument("--flavour", default="legacy", choices=("legacy", "nft"),
                        help="nft takes kube-proxy minutes a sync from some thousand Services on")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--sluice", default=str(ROOT / "build/release/sluice"))
    options = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("programming_latency.py: needs root, for network namespaces")
    say("looking for kube-proxy 1.20.2 and kube-apiserver (built once, then cached)")
    kubernetes = pathlib.Path(subprocess.run([ROOT / "tools/setup/kubernetes.sh"], check=True, text=True, stdout=subprocess.PIPE)
                              .stdout.strip().splitlines()[-1])
    peers = {"kube-proxy": [str(kubernetes / "kube-proxy")], "sluice": [options.sluice, "proxy"]}
    rows = []
    for services in (int(size) for size in options.sizes.split(",")):
        with tempfile.TemporaryDirectory(prefix="sluice-bench-") as folder, Node(), \
                ControlPlane(pathlib.Path(folder) / "cluster") as plane:
            say(f"{services} Services x {options.endpoints} endpoints, iptables-{options.flavour}: filling the API server")
            plane.fill(services, options.endpoints)
            figures = {name: measure(name, command, options.flavour, plane, pathlib.Path(folder), services, options.rounds)
                       for name, command in peers.items()}
            rows.append((services, figures))
    print(f"\nSluice against kube-proxy 1.20.2, mode iptables ({options.flavour}), {options.endpoints} endpoints a Service, one run each")
    print(f"{'Services':>8}  {'what':<22}{'kube-proxy':>12}{'sluice':>12}{'ratio':>8}")
    for services, figures in rows:
        for position, (what, unit, scale) in enumerate((("all programmed", "s", 1), ("one change", "ms", 1e3), ("memory", "MiB", 1), ("CPU", "s", 1))):
            theirs, ours = figures["kube-proxy"][position] * scale, figures["sluice"][position] * scale
            print(f"{services:>8}  {what + ', ' + unit:<22}{theirs:>12.2f}{ours:>12.2f}{ours / theirs:>8.2f}")


if __name__ == "__main__":
    main()
