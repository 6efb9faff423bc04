# SPDX-License-Identifier: Apache-2.0
"""A small cluster in network namespaces for tests and benchmarks that compare programs: nodes on one switch, pods routed behind
their nodes, a client outside. Independent of `sluice lab`, so that the product is not measured with its own tools.

Nothing is created in the host's own namespace. Every namespace has the rig's prefix; close() removes them with all that runs in
them. Threads of this process enter a namespace with setns(2), which moves only the calling thread.
"""

import contextlib
import ctypes
import errno
import os
import pathlib
import re
import signal
import socket
import ssl
import http.client
import json
import subprocess
import threading
import time

CLONE_NEWNET = 0x40000000
ROOT = pathlib.Path(__file__).resolve().parents[3]
_libc = ctypes.CDLL(None, use_errno=True)


def run(*words, check=True, **options):
    result = subprocess.run([str(word) for word in words], text=True, capture_output=True, **options)
    if check and result.returncode != 0:
        raise RuntimeError(f"{' '.join(str(w) for w in words)}: status {result.returncode}: {result.stderr.strip() or result.stdout.strip()}")
    return result.stdout


def enter(netns):
    """Moves the calling thread into a network namespace; it stays there."""
    fd = os.open(f"/run/netns/{netns}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        if _libc.setns(fd, CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), f"setns {netns}")
    finally:
        os.close(fd)


def inside(netns, function, *arguments):
    """Calls function on a thread of its own inside the namespace and returns its result, or raises what it raised."""
    outcome = {}

    def work():
        try:
            enter(netns)
            outcome["value"] = function(*arguments)
        except BaseException as error:  # handed to the caller
            outcome["error"] = error

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    if "error" in outcome:
        raise outcome["error"]
    return outcome.get("value")


# How long a busy machine may take for something that takes a moment when it is idle. Only a failure takes that long.
PATIENCE = 120.0
# How long silence must last to count as silence: a lost packet is sent again after 1 s. A dropped one never gets a reply.
SILENCE = 1.6
ANSWER_PATIENCE = 15.0


def wait_for(what, condition, seconds=PATIENCE):
    """Polls until condition() is true; otherwise raises with what it last returned."""
    deadline = time.monotonic() + seconds
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise TimeoutError(f"after {seconds:.0f} s still not: {what} (last answer: {answer!r})")
        time.sleep(0.05)


_open_rigs = []


def _close_all(*_):
    for rig in list(_open_rigs):
        rig.remove()
    os._exit(128 + signal.SIGTERM)


# A test run that is ended leaves no namespace. Not by an exception: a `finally` may be minutes away on another thread, and unittest would
# go on with the next test.
signal.signal(signal.SIGTERM, _close_all)


class Rig:
    def __init__(self, prefix):
        _open_rigs.append(self)
        self.prefix = f"{prefix}{os.getpid()}"
        # Network namespaces share the lock of iptables' legacy programs, /run/xtables.lock: other programs would block ours, and ours would block them.
        self.lock = pathlib.Path(f"/run/{self.prefix}.xtables.lock")
        os.environ["XTABLES_LOCKFILE"] = str(self.lock)
        self.hosts = {}  # name -> namespace
        self.nodes = []
        self.processes = []
        self.links = 0
        self.stopping = threading.Event()
        self.threads = []
        self._add_namespace("fabric")
        run("ip", "-n", self.ns("fabric"), "link", "add", "br0", "type", "bridge")
        run("ip", "-n", self.ns("fabric"), "link", "set", "br0", "up")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def ns(self, host):
        return self.hosts[host]

    def _add_namespace(self, host):
        netns = f"{self.prefix}-{host}"
        run("ip", "netns", "add", netns)
        self.hosts[host] = netns
        run("ip", "-n", netns, "link", "set", "lo", "up")
        # An address is usable at once: no duplicate address detection in a network that only we use. And no host learns from a
        # redirect: the sender would otherwise bypass a node that forwards its packets, from then on.
        for where in ("all", "default"):
            run("ip", "netns", "exec", netns, "sysctl", "-qw", f"net.ipv6.conf.{where}.accept_dad=0",
                f"net.ipv6.conf.{where}.accept_redirects=0", f"net.ipv4.conf.{where}.accept_redirects=0")

    def _plug(self, host):
        self.links += 1
        run("ip", "link", "add", f"p{self.links}", "netns", self.ns("fabric"), "type", "veth", "peer", "name", "eth0", "netns", self.ns(host))
        run("ip", "-n", self.ns("fabric"), "link", "set", f"p{self.links}", "master", "br0", "up")

    def _address(self, host, device, *addresses):
        for address in addresses:
            options = ["nodad"] if ":" in address else []
            run("ip", "-n", self.ns(host), "addr", "add", address, "dev", device, *options)

    def add_node(self, name, *addresses, others=()):
        """A node with the given addresses (with prefix length) on the switch, and other local addresses on a device of their own."""
        self._add_namespace(name)
        self.nodes.append(name)
        self._plug(name)
        self._address(name, "eth0", *addresses)
        run("ip", "-n", self.ns(name), "link", "set", "eth0", "up")
        for setting in ("net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1", "net.ipv4.conf.all.rp_filter=0",
                        # Refusals are ICMP messages; many at once must not be rate-limited, or they look like time-outs.
                        "net.ipv4.icmp_ratelimit=0", "net.ipv6.icmp.ratelimit=0"):
            run("ip", "netns", "exec", self.ns(name), "sysctl", "-qw", setting)
        if others:
            run("ip", "-n", self.ns(name), "link", "add", "other0", "type", "bridge")
            self._address(name, "other0", *others)
            run("ip", "-n", self.ns(name), "link", "set", "other0", "up")

    def add_client(self, name, *addresses):
        self._add_namespace(name)
        self._plug(name)
        self._address(name, "eth0", *addresses)
        run("ip", "-n", self.ns(name), "link", "set", "eth0", "up")

    def add_pod(self, name, node, *addresses):
        """A pod behind a node: host routes on the node, a link-local gateway in the pod, as in calico."""
        self._add_namespace(name)
        self.links += 1
        device = f"cali{self.links}"
        run("ip", "link", "add", device, "netns", self.ns(node), "type", "veth", "peer", "name", "eth0", "netns", self.ns(name))
        self._address(node, device, "169.254.1.1/32", "fe80::1/64")
        self._address(name, "eth0", *(f"{a}/{128 if ':' in a else 32}" for a in addresses))
        run("ip", "-n", self.ns(node), "link", "set", device, "up")
        run("ip", "-n", self.ns(name), "link", "set", "eth0", "up")
        run("ip", "-n", self.ns(name), "route", "add", "169.254.1.1", "dev", "eth0", "scope", "link")
        run("ip", "-n", self.ns(name), "route", "add", "default", "via", "169.254.1.1", "dev", "eth0", "onlink")
        run("ip", "-n", self.ns(name), "-6", "route", "add", "default", "via", "fe80::1", "dev", "eth0")
        for address in addresses:
            run("ip", "-n", self.ns(node), "route", "add", address, "dev", device)

    def add_router(self, *addresses):
        """Where nodes send packets without a route. It forwards nothing, so that an unknown address is silence."""
        self.add_client("router", *(f"{a}/{64 if ':' in a else 24}" for a in addresses))
        for node in self.nodes:
            for address in addresses:
                run("ip", "-n", self.ns(node), "-6" if ":" in address else "-4", "route", "replace", "default", "via", address)

    def route(self, host, destination, via):
        run("ip", "-n", self.ns(host), "route", "replace", destination, "via", via)

    def serve(self, host, port, tag=None):
        """Answers "NAME CLIENT-ADDRESS" to every TCP connection and UDP datagram on the port, over IPv4 and IPv6."""
        tag = tag or host
        ready = threading.Event()

        def answer_tcp(listener):
            while not self.stopping.is_set():
                with contextlib.suppress(TimeoutError, OSError):
                    connection, peer = listener.accept()
                    with connection:
                        connection.settimeout(5)
                        connection.sendall(f"{tag} {plain(peer[0])}\n".encode())
            listener.close()

        def answer_udp(server):
            while not self.stopping.is_set():
                with contextlib.suppress(TimeoutError, OSError):
                    _, ancillary, _, peer = server.recvmsg(2048, 256)
                    # The answer must leave from the address of the request, which a wildcard socket does not do by itself.
                    control = [(level, kind, data) for level, kind, data in ancillary if kind == socket.IPV6_PKTINFO]
                    server.sendmsg([f"{tag} {plain(peer[0])}\n".encode()], control, 0, peer)
            server.close()

        def work():
            enter(self.ns(host))
            tcp = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=512)
            tcp.settimeout(0.2)
            udp = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
            udp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            udp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
            udp.bind(("::", port))
            udp.settimeout(0.2)
            second = threading.Thread(target=answer_udp, args=(udp,))
            second.start()
            ready.set()
            answer_tcp(tcp)
            second.join()

        thread = threading.Thread(target=work)
        thread.start()
        self.threads.append(thread)
        if not ready.wait(PATIENCE):
            raise RuntimeError(f"the server on {host} port {port} did not start")

    def probe(self, host, protocol, address, port, timeout=ANSWER_PATIENCE, source=None):
        """One request. Returns (which pod, client address as seen), ("refused", ""), ("timeout", "") or ("unreachable", "").

        If silence is expected, SILENCE is long enough.
        """
        return inside(self.ns(host), ask, protocol, address, port, timeout, source)

    def spawn(self, host, command, log, environment=None):
        with open(log, "ab") as out:
            process = subprocess.Popen(["ip", "netns", "exec", self.ns(host), *[str(word) for word in command]], stdin=subprocess.DEVNULL,
                                       stdout=out, stderr=out, env={**os.environ, **(environment or {})})
        self.processes.append(process)
        return process

    def stop(self, process, how=signal.SIGTERM):
        process.send_signal(how)
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self.processes.remove(process)
        return process.returncode

    def get(self, host, port, path, address="127.0.0.1"):
        """Status and body of a plain HTTP request from inside a host."""
        def ask_http():
            connection = http.client.HTTPConnection(address, port, timeout=ANSWER_PATIENCE)
            connection.request("GET", path)
            response = connection.getresponse()
            body = response.read().decode()
            connection.close()
            return response.status, body
        return inside(self.ns(host), ask_http)

    def close(self):
        self.stopping.set()
        for process in list(self.processes):
            with contextlib.suppress(ProcessLookupError):
                self.stop(process, signal.SIGKILL)
        for thread in self.threads:
            thread.join()
        self.remove()

    def remove(self):
        """Removes the namespaces, and kills what runs in them."""
        for netns in list(self.hosts.values()):
            for pid in run("ip", "netns", "pids", netns, check=False).split():
                if int(pid) != os.getpid():
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(int(pid), signal.SIGKILL)
            run("ip", "netns", "del", netns, check=False)
        self.hosts.clear()
        self.lock.unlink(missing_ok=True)
        if self in _open_rigs:
            _open_rigs.remove(self)


def plain(address):
    return address.removeprefix("::ffff:")


def ask(protocol, address, port, timeout, source):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    kind = socket.SOCK_STREAM if protocol == "TCP" else socket.SOCK_DGRAM
    with socket.socket(family, kind) as connection:
        connection.settimeout(timeout)
        try:
            if source:
                connection.bind((source, 0))
            connection.connect((address, port))
            if protocol == "UDP":
                connection.send(b"who?\n")
            answer = connection.recv(256).decode().split()
            return (answer[0], answer[1]) if len(answer) == 2 else ("closed", "")
        except TimeoutError:
            return ("timeout", "")
        except ConnectionRefusedError:
            return ("refused", "")
        except OSError as error:
            return ("unreachable" if error.errno in (errno.EHOSTUNREACH, errno.ENETUNREACH) else f"error {error.errno}", "")


class ControlPlane:
    """etcd and kube-apiserver 1.20.2 inside one host of a rig, and the real kubectl."""

    def __init__(self, rig, host, address, state, service_cidr="10.96.0.0/12", data=None):
        """Empty, or with the objects that another one's save() put into the folder `data`."""
        self.rig, self.host, self.address, self.state = rig, host, address, pathlib.Path(state)
        self.script = ROOT / "test/cluster/lib/control-plane.sh"
        options = ["--data", data] if data else []
        run(self.script, "up", self.state, "--netns", rig.ns(host), "--bind", address, "--service-cidr", service_cidr, *options)
        config = (self.state / "admin.kubeconfig").read_text()
        self.token = re.search(r"token: *\"?([^\s\"}]+)", config).group(1)
        self.port = int(re.search(r"server: *\"?https://[^\s\"]*:(\d+)", config).group(1))
        self.context = ssl.create_default_context(cafile=str(self.state / "ca.crt"))

    def save(self, data):
        """Ends it and puts its objects into the folder `data`."""
        run(self.script, "save", self.state, "--data", data)

    def close(self):
        run(self.script, "down", self.state, check=False)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def kubectl(self, *words, text=None):
        return run("ip", "netns", "exec", self.rig.ns(self.host), "kubectl", "--kubeconfig", self.state / "admin.kubeconfig", *words, input=text)

    def apply(self, *objects):
        return self.kubectl("apply", "-f", "-", text=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))

    def connect(self):
        """An HTTPS connection from inside the control plane's host; usable from any namespace afterwards."""
        connection = http.client.HTTPSConnection(self.address, self.port, context=self.context, timeout=60)
        inside(self.rig.ns(self.host), connection.connect)
        return connection

    def request(self, connection, method, path, body=None):
        """Returns the decoded body; raises on a status of 300 and above."""
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        connection.request(method, path, json.dumps(body) if body is not None else None, headers)
        response = connection.getresponse()
        data = response.read()
        if response.status >= 300:
            raise RuntimeError(f"{method} {path}: {response.status} {data[:300]!r}")
        return json.loads(data)

    def add_node_object(self, name, *addresses, labels=None):
        connection = self.connect()
        node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels or {}}}
        created = self.request(connection, "POST", "/api/v1/nodes", node)
        created["status"] = {"addresses": [{"type": "InternalIP", "address": a} for a in addresses]}
        self.request(connection, "PUT", f"/api/v1/nodes/{name}/status", created)
        connection.close()


def kubernetes_programs():
    """The folder of kube-proxy and kube-apiserver 1.20.2, built if need be."""
    return pathlib.Path(subprocess.run([ROOT / "tools/setup/kubernetes.sh"], check=True, text=True, stdout=subprocess.PIPE).stdout.strip().splitlines()[-1])
