#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""One endpoint's change costs as many netlink messages among four hundred Services as among twenty, on the kernel's ip_vs and nf_tables, as
strace(1) sees them leave the proxy."""

import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "cluster/lib"))
from objects import endpoint_slice, service  # noqa: E402
from rig import PATIENCE, Rig, run, wait_for  # noqa: E402

SLUICE = os.environ["SLUICE"]
CONFIG = {"apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration", "mode": "ipvs", "clusterCIDR": "10.244.0.0/16",
          "conntrack": {"maxPerCore": 0}, "ipvs": {"syncPeriod": "1h", "minSyncPeriod": "0s"}}
ADDRESSES = ("10.244.1.5", "10.244.1.6")


def manifest(name, address, endpoints):
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": [
        service(name, address, ("p", "TCP", 80)), endpoint_slice(name, [("p", "TCP", 8080)], [(e, "elsewhere") for e in endpoints])]})


class Node:
    """A proxy in its own node with the Service `web` and `others` more."""

    def __init__(self, test, others):
        folder = tempfile.TemporaryDirectory(prefix="sluice-messages-")
        test.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        (self.folder / "manifests").mkdir()
        (self.folder / "config.yaml").write_text(json.dumps(CONFIG))
        for i in range(others):
            (self.folder / "manifests" / f"s{i}.json").write_text(manifest(f"s{i}", f"10.97.{i // 250}.{i % 250 + 1}", [f"10.244.{i // 250 + 2}.{i % 250 + 1}"]))
        self.serve(ADDRESSES[0])
        self.rig = Rig(f"slcost{others}-")
        test.addCleanup(self.rig.close)
        self.rig.add_node("node", "192.168.231.122/24")
        self.proxy = self.rig.spawn("node", [SLUICE, "proxy", f"--config={self.folder}/config.yaml", f"--manifests={self.folder}/manifests",
                                             "--hostname-override=node"], self.folder / "log")
        wait_for("the first sync", lambda: "Programmed all Services" in (self.folder / "log").read_text(), 300)

    def serve(self, *endpoints):
        (self.folder / "new.json").write_text(manifest("web", "10.96.0.50", endpoints))
        os.replace(self.folder / "new.json", self.folder / "manifests" / "web.json")

    def real_servers(self):
        saved = run("ip", "netns", "exec", self.rig.ns("node"), "ipvsadm", "-S", "-n")
        return sorted(re.findall(r"-a -t 10\.96\.0\.50:80 -r ([\d.]+):8080", saved))

    def wait_until_still(self, trace):
        """Waits until the main thread has been idle for two seconds, and sleeps: on a busy machine it may be about to continue. Returns the trace's size."""
        def look():
            status = pathlib.Path(f"/proc/{self.proxy.pid}/task/{self.proxy.pid}/status").read_text()
            return [line for line in status.splitlines() if line.startswith(("State", "voluntary", "nonvoluntary"))], trace.stat().st_size

        def still():
            before = look()
            time.sleep(2)
            return before == look() and "S (sleeping)" in before[0][0]

        wait_for("the proxy has nothing more to do", still)
        return trace.stat().st_size

    def messages_of_change(self, *endpoints):
        """How many netlink messages leave the proxy until the kernel has the endpoints and no others.

        Those of its main thread, which serves changes. Another one removes leftovers of other modes, once, some time after the first sync.
        """
        trace = self.folder / "trace"
        log = open(self.folder / "strace.log", "w+", encoding="utf-8")
        tracer = subprocess.Popen(["strace", "-f", "-v", "-e", "trace=sendto,sendmsg,sendmmsg", "-o", str(trace), "-p", str(self.proxy.pid)], stderr=log)
        try:
            wait_for("strace is attached", lambda: "attached" in (self.folder / "strace.log").read_text())
            before = self.wait_until_still(trace)
            self.serve(*endpoints)
            wait_for(f"real servers {endpoints}", lambda: self.real_servers() == sorted(endpoints))
            self.wait_until_still(trace)
        finally:
            tracer.send_signal(signal.SIGINT)
            tracer.wait(PATIENCE)
            log.close()
        lines = trace.read_text()[before:].splitlines()
        return sum(line.count("nlmsg_len=") for line in lines if line.startswith(f"{self.proxy.pid} "))


class MessagesTest(unittest.TestCase):
    def test_an_endpoint_that_comes_and_goes_costs_the_same_at_any_size(self):
        counts = {}
        for others in (20, 400):
            node = Node(self, others)
            counts[others] = (node.messages_of_change(*ADDRESSES), node.messages_of_change(ADDRESSES[1]))
            print(f"{others} other Services: {counts[others][0]} netlink messages for an endpoint that comes, {counts[others][1]} for one that goes")
        self.assertEqual(counts[20], counts[400])
        self.assertTrue(0 < counts[20][0] <= 16, "some, but few")


if __name__ == "__main__":
    unittest.main(verbosity=2)
