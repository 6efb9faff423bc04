# SPDX-License-Identifier: Apache-2.0
"""One node with a proxy, two pods that its Services lead to, and a neighbour on its wire; what the kernel holds of it, and a proxy that is
killed at a step of our choice."""
import contextlib
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "cluster/lib"))
from objects import endpoint_slice, service  # noqa: E402
from rig import PATIENCE, Rig, inside, run, wait_for  # noqa: E402

ADDRESS, OTHER_ADDRESS, NEIGHBOUR = "192.168.231.122", "192.168.122.1", "192.168.231.200"
PODS = {"a": "10.244.1.5", "b": "10.244.1.6"}
ROUTE_LOCALNET = "net/ipv4/conf/all/route_localnet"
LOCAL_PORT, OPEN_PORT = 9999, 9998


def checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff


class Neighbour:
    """Sends SYNs to 127.0.0.1 over the wire, as no kernel would by itself, and sees whether they are answered (CVE-2020-8558)."""

    def __init__(self, rig, node):
        self.wire = inside(rig.ns("neighbour"), socket.socket, socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800))
        inside(rig.ns("neighbour"), self.wire.bind, ("eth0", 0x0800))
        self.to_node, self.own = (bytes.fromhex(json.loads(run("ip", "-n", rig.ns(host), "-j", "link", "show", "eth0"))[0]["address"].replace(":", ""))
                                  for host in (node, "neighbour"))
        self.listeners = [inside(rig.ns(node), lambda address=address: socket.create_server(address, backlog=512))
                          for address in (("127.0.0.1", LOCAL_PORT), (ADDRESS, OPEN_PORT))]
        self.port, self.lock, self.tries, self.reached = 20000, threading.Lock(), 0, []
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self.go_on)

    def syn(self, address, port):
        ends = socket.inet_aton(NEIGHBOUR) + socket.inet_aton(address)
        segment = struct.pack("!HHIIBBHHH", self.port, port, 1, 0, 5 << 4, 2, 1024, 0, 0)
        segment = segment[:16] + struct.pack("!H", checksum(ends + struct.pack("!HH", 6, len(segment)) + segment)) + segment[18:]
        header = struct.pack("!BBHHHBBH", 0x45, 0, 40, 0, 0, 64, 6, 0) + ends
        header = header[:10] + struct.pack("!H", checksum(header)) + header[12:]
        self.wire.send(self.to_node + self.own + b"\x08\x00" + header + segment)

    def hears(self):
        """Whether 127.0.0.1 answers. A SYN that must be answered follows on the same wire: when its answer is here, the first one's would be."""
        with self.lock:
            for _ in range(50):
                self.port = 20000 + (self.port + 1) % 20000
                self.syn("127.0.0.1", LOCAL_PORT)
                self.syn(ADDRESS, OPEN_PORT)
                self.wire.settimeout(1)
                heard = False
                with contextlib.suppress(TimeoutError):
                    while True:
                        frame = self.wire.recv(2048)
                        at = 14 + (frame[14] & 15) * 4
                        if len(frame) < at + 14 or frame[23] != 6 or frame[6:12] != self.to_node:
                            continue
                        source, to = struct.unpack("!HH", frame[at:at + 4])
                        if to == self.port and frame[at + 13] & 0x12 == 0x12:
                            heard = heard or source == LOCAL_PORT
                            if source == OPEN_PORT:
                                return heard
            raise TimeoutError("the node does not answer at all")

    def go_on(self):
        while not self.stopping.wait(0.1):
            if self.hears():
                self.reached.append(time.monotonic())
            self.tries += 1

    def close(self):
        self.stopping.set()
        if self.thread.ident:
            self.thread.join()
        for each in (self.wire, *self.listeners):
            each.close()


class OneNode:
    def __init__(self, test, name):
        folder = tempfile.TemporaryDirectory(prefix=f"sluice-{name}-")
        test.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.program, self.manifests, self.data, self.log = (self.folder / each for each in ("sluice", "manifests", "data", "log"))
        self.manifests.mkdir()
        shutil.copyfile(os.environ["SLUICE"], self.program)  # out of the host's folder: it is started often
        self.program.chmod(0o755)
        self.rig = Rig(f"sl{name}")
        test.addCleanup(self.rig.close)
        self.rig.add_node("node", f"{ADDRESS}/24", "fd00:231::122/64", others=[f"{OTHER_ADDRESS}/24"])
        self.rig.add_client("neighbour", f"{NEIGHBOUR}/24")
        for pod, address in PODS.items():
            self.rig.add_pod(pod, "node", address)
        self.proxy = None

    def serve(self, *objects):
        """These and the node's own Node are all that there is."""
        node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node"},
                "status": {"addresses": [{"type": "InternalIP", "address": address} for address in (ADDRESS, "fd00:231::122")]}}
        new = self.folder / "new.json"
        new.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": [node, *objects]}))
        new.rename(self.manifests / "all.json")

    def serve_web(self):
        """default/web on 10.96.0.50:80 and node port 30080, with both pods."""
        self.serve(service("web", "10.96.0.50", ("p", "TCP", 80, 30080), type="NodePort"),
                   endpoint_slice("web", [("p", "TCP", 8080)], [(address, "node") for address in PODS.values()]))

    def command(self, mode, **more):
        config = self.folder / f"{mode}.yaml"
        config.write_text(json.dumps({"apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration", "mode": mode,
                                      "clusterCIDR": "10.244.0.0/16", "conntrack": {"maxPerCore": 0}, **more}))
        return [self.program, "proxy", f"--config={config}", f"--manifests={self.manifests}", "--hostname-override=node", f"--data-dir={self.data}"]

    def cleanup_command(self):
        return [self.program, "cleanup", f"--data-dir={self.data}"]

    def on_node(self, *words, check=True):
        return run("ip", "netns", "exec", self.rig.ns("node"), *words, check=check)

    def said(self):
        """What the last proxy logged."""
        return self.log.read_text() if self.log.exists() else ""

    def start(self, mode, **more):
        self.log.unlink(missing_ok=True)
        self.proxy = self.rig.spawn("node", self.command(mode, **more), self.log)

    def start_and_sync(self, mode, **more):
        self.start(mode, **more)
        for family in ("IPv4", "IPv6"):
            wait_for(f"the first sync in mode {mode}, in: {self.said()}", lambda family=family: f'"Programmed all Services" ipFamily="{family}"' in self.said())

    def stop(self):
        """As an accident does."""
        self.rig.stop(self.proxy, signal.SIGKILL)

    def kill_at(self, command, name, call, which=1):
        """Runs the command under strace(1), which kills it where it is about to do the given `call`, the `which`-th one, on the file of a setting.

        Without -f, which would hold up iptables' programs: the main thread alone writes to the kernel.
        """
        self.log.unlink(missing_ok=True)
        tracer = self.rig.spawn("node", ["strace", "-qq", "-o", self.folder / "trace", "-P", f"/proc/sys/{name}", "-e", "trace=write,close",
                                         "-e", f"inject={call}:signal=KILL:when={which}", *command], self.log)
        try:
            wait_for(f"the kill at {call} {which} of {name}", lambda: tracer.poll() is not None)
        except TimeoutError as error:
            raise AssertionError(self.said()) from error
        self.rig.processes.remove(tracer)
        if tracer.returncode != -signal.SIGKILL:
            raise AssertionError(f"it ended with {tracer.returncode} before {call} {which} of {name}: {self.said()}")

    def killed_around(self, command, name):
        """Before the command writes the setting, and after it; yields either time."""
        self.kill_at(command, name, "write")
        yield "before"
        closed = sum(line.startswith("close(") for line in (self.folder / "trace").read_text().splitlines())
        self.kill_at(command, name, "close", closed + 1)
        yield "after"

    def setting(self, name):
        return self.on_node("cat", f"/proc/sys/{name}").strip()

    def settings(self):
        """All that a proxy may change."""
        return self.on_node("sh", "-c", "cd /proc/sys/net && grep -rs . ipv4/vs ipv4/ip_forward ipv4/conf/all netfilter/nf_conntrack_tcp* || true")

    def restore(self, settings):
        """To what settings() returned."""
        for line in set(settings.splitlines()) - set(self.settings().splitlines()):
            name, value = line.split(":", 1)
            self.on_node("sh", "-c", f"echo '{value}' >/proc/sys/net/{name}")

    def virtual_servers(self):
        return sorted(line for line in self.on_node("ipvsadm", "-S", "-n").splitlines() if line)

    def remains(self):
        """Whatever is there that a proxy may have made, but virtual servers and settings."""
        found = re.findall(r"kube-ipvs0(?=[:@])", self.on_node("ip", "-o", "link"))
        found += [line for line in self.on_node("nft", "list", "tables").splitlines() if "sluice" in line or "kube-proxy" in line]
        for program in ("iptables-nft-save", "ip6tables-nft-save", "iptables-legacy-save", "ip6tables-legacy-save"):
            found += [line for line in self.on_node(program, check=False).splitlines() if "KUBE-" in line]
        return found
