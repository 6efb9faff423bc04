# SPDX-License-Identifier: Apache-2.0
"""A director between clients and real servers, in network namespaces of the guest: where the recorded sessions of ipvsadm are replayed.

    clients (lab-cl)  --192.168.100.0/30--  director (lab-dir)  --192.168.200.0/30--  real servers (lab-rs)
            \\__________________________ 192.168.50.0/30 __________________________/

Clients have all of 10.1.0.0/16 and fd01::/64, real servers all of 10.2.0.0/16, 10.3.0.0/16, 10.244.0.0/16 and fd02::/64. What a real server
sends from its own address goes back through the director (masquerade); what it sends from a virtual address goes straight to the
client (direct route, tunnel). The director's eth0 (172.31.0.1/24) is for sync daemons.
"""
import concurrent.futures
import contextlib
import ctypes
import fcntl
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
GOLDEN = HERE.parent / "golden" / "ipvsadm"
CLIENTS, DIRECTOR, SERVERS = "lab-cl", "lab-dir", "lab-rs"
SOCKET, LOCK = "/run/lab-traffic", "/run/lab-lock"
VIRTUAL_V4 = ("10.104.247.10", "10.96.0.10", "192.168.122.1", "10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4")
VIRTUAL_V6 = ("fd00:1::1", "fd00:1::2")
SERVER_V4 = ("10.2.0.0/16", "10.3.0.0/16", "10.244.0.0/16")
CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


def enter(namespace):
    """Moves the calling thread into the namespace."""
    with open(f"/run/netns/{namespace}", "rb") as file:
        if _libc.setns(file.fileno(), CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), f"setns {namespace}")


def ip(namespace, lines, *options):
    where = ["-n", namespace] if namespace else []
    subprocess.run(["ip", *options, *where, "-batch", "-"], input="\n".join(lines) + "\n", text=True, check=True)


def pids(namespace):
    return [int(each) for each in subprocess.run(["ip", "netns", "pids", namespace], capture_output=True, text=True, check=True).stdout.split()]


def sysctl(namespace, settings):
    words = [f"{name}={value}" for name, value in settings.items()]
    subprocess.run(["ip", "netns", "exec", namespace, "sysctl", "-qw", *words], check=True)


QUIET = {  # no reverse path filter, no wait for duplicate addresses
    "net.ipv4.conf.all.rp_filter": 0, "net.ipv4.conf.default.rp_filter": 0,
    "net.ipv6.conf.all.accept_dad": 0, "net.ipv6.conf.default.accept_dad": 0,
    "net.ipv4.conf.all.send_redirects": 0, "net.ipv4.conf.default.send_redirects": 0,
}


def build():
    ip(None, [f"netns add {name}" for name in (CLIENTS, DIRECTOR, SERVERS)])
    for namespace in (CLIENTS, DIRECTOR, SERVERS):
        sysctl(namespace, QUIET)
    sysctl(DIRECTOR, {"net.ipv4.ip_forward": 1, "net.ipv6.conf.all.forwarding": 1, "net.ipv4.ip_nonlocal_bind": 1})
    ip(DIRECTOR, [
        "link set lo up",
        f"link add to-cl type veth peer name to-dir netns {CLIENTS}",
        f"link add to-rs type veth peer name to-dir netns {SERVERS}",
        f"link add eth0 type veth peer name eth0 netns {CLIENTS}",
        "address add 192.168.100.1/30 dev to-cl", "address add fd00:100::1/64 dev to-cl nodad",
        "address add 192.168.200.1/30 dev to-rs", "address add fd00:200::1/64 dev to-rs nodad",
        "address add 172.31.0.1/24 dev eth0",
        *(f"link set {name} up" for name in ("to-cl", "to-rs", "eth0")),
        "link add kube-ipvs0 type dummy", "link set kube-ipvs0 up",
        *(f"address add {address}/32 dev kube-ipvs0" for address in VIRTUAL_V4),
        *(f"address add {address}/128 dev kube-ipvs0 nodad" for address in VIRTUAL_V6),
    ])
    ip(SERVERS, [
        "link set lo up",
        f"link add to-cl type veth peer name to-rs netns {CLIENTS}",
        "address add 192.168.200.2/30 dev to-dir", "address add fd00:200::2/64 dev to-dir nodad",
        "address add 192.168.50.2/30 dev to-cl", "address add fd00:50::2/64 dev to-cl nodad",
        "link set to-dir up", "link set to-cl up",
        *(f"route add local {prefix} dev lo" for prefix in SERVER_V4),
        *(f"route add local {address}/32 dev lo" for address in VIRTUAL_V4),
        *(f"route add local {prefix} dev lo" for prefix in ("fd02::/64", *(f"{address}/128" for address in VIRTUAL_V6))),
        *(f"rule add from {prefix} lookup 100" for prefix in SERVER_V4),
        "route add default via 192.168.200.1 table 100", "route add default via fd00:200::1 table 100",
    ])
    ip(SERVERS, ["rule add from fd02::/64 lookup 100"], "-6")
    ip(CLIENTS, [
        "link set lo up",
        "address add 192.168.100.2/30 dev to-dir", "address add fd00:100::2/64 dev to-dir nodad",
        "address add 192.168.50.1/30 dev to-rs", "address add fd00:50::1/64 dev to-rs nodad",
        "address add 172.31.0.2/24 dev eth0",
        *(f"link set {name} up" for name in ("to-dir", "to-rs", "eth0")),
        "route add default via 192.168.100.1", "route add default via fd00:100::1",
        "route add local 10.1.0.0/16 dev lo", "route add local fd01::/64 dev lo",
    ])
    ip(SERVERS, ["route add default via 192.168.50.1", "route add default via fd00:50::1"])
    ip(DIRECTOR, [
        *(f"route add {prefix} via 192.168.200.2" for prefix in SERVER_V4), "route add fd02::/64 via fd00:200::2",
        "route add 10.1.0.0/16 via 192.168.100.2", "route add fd01::/64 via fd00:100::2",
    ])


def remove():
    for namespace in (CLIENTS, DIRECTOR, SERVERS):
        if os.path.exists(f"/run/netns/{namespace}"):
            subprocess.run(["ip", "netns", "delete", namespace], check=True)


@contextlib.contextmanager
def director(traffic=False):
    """The lab, for as long as the block lasts; with `traffic`, the commands of bin/ can make some. There is only one: a second block waits."""
    with open(LOCK, "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with lab(traffic):
            yield


@contextlib.contextmanager
def lab(traffic):
    remove()
    build()
    maker = None
    try:
        if traffic:
            maker = subprocess.Popen([sys.executable, str(HERE / "traffic.py")])
            end = time.monotonic() + 120
            while not os.path.exists(SOCKET):
                if maker.poll() is not None or time.monotonic() > end:
                    raise RuntimeError("the traffic maker did not start")
                time.sleep(0.05)
        yield
    finally:
        if maker:
            maker.send_signal(signal.SIGTERM)
            maker.wait(timeout=120)
            if os.path.exists(SOCKET):
                os.unlink(SOCKET)
        remove()


def inside(function, *arguments):
    """The result of the function, called in the director's namespace; programs that it starts are there too."""
    with concurrent.futures.ThreadPoolExecutor(1, initializer=enter, initargs=(DIRECTOR,)) as thread:
        return thread.submit(function, *arguments).result()


def use_recorded_names():
    """The hosts and services files of the recordings. Only in the guest, whose /etc is its own."""
    for name in ("hosts", "services", "nsswitch.conf"):
        shutil.copyfile(GOLDEN / "env" / name, f"/etc/{name}")


def program_folders():
    """Two folders with ipvsadm, ipvsadm-save and ipvsadm-restore: ours, and the real ones."""
    base = pathlib.Path("/run/ipvsadm")
    ours, real = base / "ours", base / "real"
    if not base.exists():
        ours.mkdir(parents=True)
        real.mkdir()
        shutil.copyfile(os.environ["SLUICE"], base / "sluice")  # out of the host's folder: it is started hundreds of times
        (base / "sluice").chmod(0o755)
        for name in ("ipvsadm", "ipvsadm-save", "ipvsadm-restore"):
            (ours / name).symlink_to(base / "sluice")
            (real / name).symlink_to(f"/usr/sbin/{name}")
    return ours, real
