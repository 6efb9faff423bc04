#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A removed real server is drained, across a restart of the proxy, and one that comes back gets its weight back, under a real connection.
Then five thousand addresses are added to and removed from kube-ipvs0 while clients continue."""

import contextlib
import json
import os
import pathlib
import signal
import socket
import struct
import sys
import tempfile
import threading
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "cluster/lib"))
from objects import endpoint_slice, service  # noqa: E402
from rig import PATIENCE, Rig, inside, run, wait_for  # noqa: E402

SLUICE = os.environ["SLUICE"]
CONFIG = {"apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration", "mode": "ipvs", "clusterCIDR": "10.244.0.0/16",
          "conntrack": {"maxPerCore": 0}}
PODS = {"a": "10.244.1.5", "b": "10.244.1.6"}


class DrainTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="sluice-drain-")
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.manifests = self.folder / "manifests"
        self.manifests.mkdir()
        self.rig = Rig("sldrain")
        self.addCleanup(self.rig.close)
        self.rig.add_node("node", "192.168.231.122/24")
        for name, address in {**PODS, "asker": "10.244.1.9"}.items():
            self.rig.add_pod(name, "node", address)
        (self.folder / "config.yaml").write_text(json.dumps(CONFIG))
        self.serve(*PODS)
        self.start()

    def listen(self, pod):
        """Sends its name on every connection, and again for all that it receives."""
        listener = inside(self.rig.ns(pod), lambda: socket.create_server(("0.0.0.0", 8080), backlog=512))
        self.addCleanup(listener.close)

        def talk(connection):
            with contextlib.suppress(OSError), connection:
                connection.sendall(f"{pod} \n".encode())
                while connection.recv(200):
                    connection.sendall(f"{pod} \n".encode())

        def accept():
            with contextlib.suppress(OSError):
                while True:
                    threading.Thread(target=talk, args=(listener.accept()[0],), daemon=True).start()
        threading.Thread(target=accept, daemon=True).start()

    def serve(self, *pods):
        made = [service("web", "10.96.0.50", ("p", "TCP", 80)), endpoint_slice("web", [("p", "TCP", 8080)], [(PODS[pod], "node") for pod in pods])]
        (self.folder / "new.json").write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": made}))
        os.replace(self.folder / "new.json", self.manifests / "web.json")

    def start(self):
        self.proxy = self.rig.spawn("node", [SLUICE, "proxy", f"--config={self.folder}/config.yaml", f"--manifests={self.manifests}", "--hostname-override=node"],
                                    self.folder / "log", {})

    def on_node(self, *words):
        return run("ip", "netns", "exec", self.rig.ns("node"), *words)

    def weights(self):
        lines = self.on_node("ipvsadm", "-S", "-n").splitlines()
        return {line.split(" -r ")[1].split(":")[0]: int(line.split(" -w ")[1].split()[0]) for line in lines if " -r " in line}

    def wait_weights(self, wanted):
        wait_for(f"weights {wanted}; the log: {(self.folder / 'log').read_text()[-1500:]}", lambda: self.weights() == wanted)

    def hold(self, pod):
        """A connection from the asker that landed on the pod."""
        for _ in range(10):
            held = inside(self.rig.ns("asker"), lambda: socket.create_connection(("10.96.0.50", 80), timeout=PATIENCE))
            if held.recv(200).split()[0].decode() == pod:
                return held
            held.close()
        self.fail(f"no connection to {pod}")

    def test_a_connection_outlives_its_endpoint_and_the_proxy(self):
        for name in PODS:
            self.listen(name)
        self.wait_weights({PODS["a"]: 1, PODS["b"]: 1})
        held = self.hold("a")
        self.serve("b")
        self.wait_weights({PODS["a"]: 0, PODS["b"]: 1})
        self.rig.stop(self.proxy, signal.SIGKILL)
        self.start()
        wait_for("the first sync after the restart", lambda: "Programmed all Services" in (self.folder / "log").read_text().split("Sluice starts")[-1])
        self.assertEqual(self.weights(), {PODS["a"]: 0, PODS["b"]: 1})
        self.serve("a", "b")
        self.wait_weights({PODS["a"]: 1, PODS["b"]: 1})
        self.serve("b")
        self.wait_weights({PODS["a"]: 0, PODS["b"]: 1})
        held.sendall(b"who\n")
        self.assertEqual(held.recv(200).split()[0], b"a", "the connection goes on")
        held.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset: ip_vs forgets it after 10 s
        held.close()
        self.wait_weights({PODS["b"]: 1})

    def test_thousands_of_addresses_come_and_go_without_a_pause(self):
        for name in PODS:
            self.rig.serve(name, 8080)
        self.wait_weights({PODS["a"]: 1, PODS["b"]: 1})
        many = [service(f"s{i}", f"10.97.{i // 250}.{i % 250 + 1}", ("p", "TCP", 80)) for i in range(5000)]
        (self.folder / "many").write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": many}))
        failures, longest, stop = [], (0.0, 0.0), threading.Event()

        def traffic():
            nonlocal longest
            while not stop.is_set():
                began = time.monotonic()
                who, _ = self.rig.probe("asker", "TCP", "10.96.0.50", 80)
                longest = max(longest, (time.monotonic() - began, began))
                if who not in PODS:
                    failures.append(who)
        thread = threading.Thread(target=traffic)
        thread.start()
        try:
            os.replace(self.folder / "many", self.manifests / "many.json")
            count = lambda: self.on_node("ip", "-o", "-4", "address", "show", "dev", "kube-ipvs0").count("\n")  # noqa: E731
            times = [time.monotonic()]
            wait_for("5,001 addresses", lambda: count() == 5001, 300)
            times.append(time.monotonic())
            os.remove(self.manifests / "many.json")
            wait_for("1 address", lambda: count() == 1, 300)
            times.append(time.monotonic())
        finally:
            stop.set()
            thread.join()
        seconds = [f"{later - earlier:.1f}" for earlier, later in zip(times, times[1:])]
        print(f"5,000 addresses came in {seconds[0]} s and went in {seconds[1]} s; the longest answer meanwhile took {longest[0]:.2f} s, "
              f"{longest[1] - times[0]:.1f} s after the beginning")
        self.assertEqual(failures, [])


if __name__ == "__main__":
    unittest.main(verbosity=2)
