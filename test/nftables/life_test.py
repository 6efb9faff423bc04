#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Mode nftables against the hands of others: the program itself and real connections, each test in a network namespace of its own, in which
"pods" are addresses of the loopback device.

usage: life_test.py SLUICE
"""
import contextlib
import ctypes
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest

PROGRAM = sys.argv.pop(1)
CLONE_NEWNET = 0x40000000
CLUSTER_IP, PODS = "10.96.0.10", ("10.244.0.5", "10.244.0.6")
CONFIG = """apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: {mode}
hostnameOverride: node-a
clusterCIDR: 10.244.0.0/16
nftables: {{syncPeriod: 1s, minSyncPeriod: 0.1s}}
conntrack: {{maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}}
"""
SERVICE = f"""apiVersion: v1
kind: Service
metadata: {{name: web, namespace: shop}}
spec:
  clusterIP: {CLUSTER_IP}
  clusterIPs: [{CLUSTER_IP}]
  ports: [{{name: http, port: 80, targetPort: 8080, protocol: TCP}}]
---
"""
SLICE = """apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: web-1, namespace: shop, labels: {{kubernetes.io/service-name: web}}}}
addressType: IPv4
ports: [{{name: http, port: 8080, protocol: TCP}}]
endpoints: [{endpoints}]
"""
# kube-proxy's own table with a rule that would win if it stayed, and others' tables: a set of many fields, flags and timeouts, a table in another
# family, and one that sleeps.
KUBE_PROXY = f"""table ip kube-proxy {{
  chain c {{ type nat hook output priority -100;
    ip daddr {CLUSTER_IP} drop
  }}
}}
table ip6 kube-proxy {{
}}
"""
FOREIGN = """table inet other {
  set strange { typeof ip saddr . tcp dport . meta iifname . ct mark . ether saddr; flags timeout; }
  set ranges { type ipv4_addr . inet_service; flags interval; elements = { 192.0.2.0/24 . 1-9 }; }
  map counted { type ipv4_addr . inet_service : verdict; counter; }
  set lots { type inet_service; flags dynamic,timeout; size 100; timeout 5s; }
  chain c { type filter hook forward priority 10;
    ct state established,related counter accept
  }
}
table netdev other {
  chain i { type filter hook ingress device "lo" priority 0;
  }
}
table bridge other {
  set s { typeof ether saddr; }
}
table arp other { }
table ip other {
  flags dormant
  chain c { type nat hook prerouting priority -100;
  }
}
"""


def wait_for(what, holds, seconds=60):
    end = time.monotonic() + seconds
    while not (answer := holds()):
        if time.monotonic() > end:
            raise AssertionError(f"waited in vain for {what}")
        time.sleep(0.02)
    return answer


def run(*words, text=None):
    return subprocess.run(words, input=text, text=True, check=True, capture_output=True).stdout


class LifeTest(unittest.TestCase):
    def setUp(self):
        self.assertEqual(ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET), 0, "needs root")
        run("ip", "link", "set", "lo", "up")
        for address in PODS:
            run("ip", "address", "add", address, "dev", "lo")
        run("ip", "route", "add", "10.96.0.0/16", "dev", "lo")
        self.folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory(prefix="sluice-life-")))
        self.manifests = self.folder / "manifests"
        self.manifests.mkdir()
        self.listeners = []
        for address in PODS:
            listener = socket.create_server((address, 8080))
            self.listeners.append(listener)
            threading.Thread(target=self.answer, args=(listener, address), daemon=True).start()
        self.addCleanup(lambda: [each.close() for each in self.listeners])
        self.proxies = []
        self.addCleanup(lambda: [each.kill() or each.wait() for each in self.proxies])
        self.endpoints(*PODS[:1])

    @staticmethod
    def answer(listener, address):
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.sendall(address.encode())

    def endpoints(self, *addresses):
        listed = ", ".join(f"{{addresses: [{each}], conditions: {{ready: true}}}}" for each in addresses)
        new = self.folder / "new.yaml"
        new.write_text(SERVICE + SLICE.format(endpoints=listed))
        new.rename(self.manifests / "web.yaml")

    def start(self, mode="nftables"):
        config = self.folder / f"{mode}.yaml"
        config.write_text(CONFIG.format(mode=mode))
        with (self.folder / "log").open("a") as log:
            proxy = subprocess.Popen([PROGRAM, "proxy", f"--config={config}", f"--manifests={self.manifests}", f"--data-dir={self.folder}/data"],
                                     stdout=log, stderr=log)
        self.proxies.append(proxy)
        return proxy

    @staticmethod
    @contextlib.contextmanager
    def stopped(proxy):
        proxy.send_signal(signal.SIGSTOP)
        os.waitpid(proxy.pid, os.WUNTRACED)
        yield
        proxy.send_signal(signal.SIGCONT)

    @staticmethod
    def ask(timeout=1):
        try:
            with socket.create_connection((CLUSTER_IP, 80), timeout=timeout) as connection:
                return connection.recv(100).decode()
        except OSError as error:
            return type(error).__name__

    def serves(self, *wanted):
        wait_for(f"an answer of {wanted}", lambda: self.ask() in wanted)

    @staticmethod
    def tables():
        return sorted(line.removeprefix("table ") for line in run("nft", "list", "tables").splitlines())

    def status(self):
        asked = subprocess.run([PROGRAM, "status", "-o", "json"], text=True, capture_output=True)
        return json.loads(asked.stdout) if asked.stdout else {}

    def test_the_rules_outlive_the_process_and_are_written_again_when_others_remove_them(self):
        proxy = self.start()
        self.serves(PODS[0])
        proxy.send_signal(signal.SIGKILL)
        proxy.wait()
        self.assertEqual(self.ask(), PODS[0])
        self.endpoints(PODS[1])
        proxy = self.start()
        self.serves(PODS[1])
        table = ("ip", "sluice-nftables")
        for damage in (("flush", "ruleset"), ("delete", "table", *table), ("flush", "chain", *table, "services"),
                       ("flush", "map", *table, "frontends"), ("flush", "map", *table, "endpoints"),
                       ("delete", "element", *table, "frontends", f"{{ {CLUSTER_IP} . tcp . 80 }}"),
                       ("delete", "element", *table, "endpoints", f"{{ {CLUSTER_IP} . tcp . 80 . 0 }}"),
                       ("add", "table", *table, "{ flags dormant; }")):
            with self.stopped(proxy):  # which would repair it at once, or a moment later
                run("nft", *damage)
                self.assertNotIn(self.ask(timeout=0.2), PODS, damage)
            self.serves(PODS[1])
        self.endpoints(PODS[0])
        self.serves(PODS[0])

    def test_killed_at_any_moment_the_next_process_goes_on(self):
        for delay in range(0, 60, 4):
            proxy = self.start()
            time.sleep(delay / 1000)
            proxy.send_signal(signal.SIGKILL)
            proxy.wait()
            run("nft", "list", "ruleset")
        for pod in (PODS[1], PODS[0]):
            self.start()
            self.endpoints(pod)
            self.serves(pod)
            self.proxies[-1].send_signal(signal.SIGKILL)
            self.proxies[-1].wait()
            self.assertEqual(self.ask(), pod)

    def test_kube_proxys_table_goes_and_those_of_others_stay(self):
        run("nft", "-f", "-", text=KUBE_PROXY + FOREIGN)
        foreign = {each for each in self.tables() if "kube-proxy" not in each}
        self.start()
        wait_for("the end of kube-proxy's tables", lambda: not any("kube-proxy" in each for each in self.tables()))
        self.assertLessEqual(foreign | {"ip sluice-nftables", "ip6 sluice-nftables"}, set(self.tables()))
        self.serves(PODS[0])
        self.endpoints(PODS[1])
        self.serves(PODS[1])
        self.assertNotIn("Sync failed", (self.folder / "log").read_text())

    def test_modes_change_in_both_directions_and_cleanup_leaves_nothing(self):
        for mode in ("iptables", "nftables", "iptables", "nftables"):
            proxy = self.start(mode)
            self.serves(PODS[0])
            rules = lambda: run("iptables-save", "-t", "nat") + run("iptables-legacy-save", "-t", "nat")
            wait_for(f"the other mode's end in mode {mode}", lambda mode=mode, rules=rules: ("KUBE-SERVICES" in rules()) == (mode == "iptables")
                     and ("ip sluice-nftables" in self.tables()) == (mode == "nftables"))
            self.assertEqual(self.ask(), PODS[0])
            proxy.terminate()
            proxy.wait()
        run(PROGRAM, "cleanup", f"--data-dir={self.folder}/data")
        self.assertEqual([each for each in self.tables() if "sluice" in each], [])
        self.assertNotIn(self.ask(), PODS)

    def test_status_and_metrics_know_the_mode(self):
        self.start()
        self.serves(PODS[0])
        families = wait_for("both families", lambda: [each for each in self.status().get("families", []) if each["synced"]][1:] and self.status())
        self.assertEqual(families["mode"], "nftables")


if __name__ == "__main__":
    unittest.main(verbosity=2)
