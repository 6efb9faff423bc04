# SPDX-License-Identifier: Apache-2.0
"""What the benchmarks share: the load of an API server, N Services of M endpoints in the namespace `load`, and figures of a proxy."""

import contextlib
import http.client
import os
import pathlib
import queue
import re
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "test/cluster/lib"))

SLICES = "/apis/discovery.k8s.io/v1beta1/namespaces/load/endpointslices"


def say(text):
    print(f"[{time.strftime('%H:%M:%S')}] {text}", flush=True)


def fill(plane, node_address, services, endpoints, protocol="TCP"):
    """Creates the Node `node1`, and Services s0, s1 ... with their slices."""
    first = plane.connect()
    plane.request(first, "POST", "/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "load"}})
    plane.add_node_object("node1", node_address)
    work = queue.Queue()
    for index in range(services):
        work.put(index)
    errors = []

    def worker():
        connection = plane.connect()
        with contextlib.suppress(queue.Empty):
            while not errors:
                index = work.get_nowait()
                try:
                    plane.request(connection, "POST", "/api/v1/namespaces/load/services", service(f"s{index}", cluster_ip(index), protocol))
                    plane.request(connection, "POST", SLICES, endpoint_slice(f"s{index}", [endpoint_ip(index, j) for j in range(endpoints)], protocol))
                except Exception as error:  # raised below, on the main thread
                    errors.append(error)
        connection.close()

    threads = [threading.Thread(target=worker) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    first.close()


def cluster_ip(index):
    index += 256
    return f"10.{96 + (index >> 16)}.{index >> 8 & 255}.{index & 255}"


def endpoint_ip(service_index, endpoint_index):
    number = service_index * 64 + endpoint_index
    return f"10.{128 + (number >> 16)}.{number >> 8 & 255}.{number & 255}"


def service(name, address, protocol="TCP"):
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "load"},
            "spec": {"clusterIP": address, "ports": [{"name": "p", "port": 80, "protocol": protocol, "targetPort": 8080}]}}


def endpoint_slice(name, addresses, protocol="TCP"):
    return {"apiVersion": "discovery.k8s.io/v1beta1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"name": f"{name}-x", "namespace": "load", "labels": {"kubernetes.io/service-name": name}},
            "endpoints": [{"addresses": [a], "conditions": {"ready": True}} for a in addresses],
            "ports": [{"name": "p", "port": 8080, "protocol": protocol}]}


def synced_once(rig, host):
    """The proxy's own metric; reading it is cheap, listing a large table from the kernel is not."""
    try:
        _, text = rig.get(host, 10249, "/metrics")
    except (OSError, http.client.HTTPException):
        return False
    found = re.findall(r"^kubeproxy_sync_proxy_rules_last_timestamp_seconds(?:{[^}]*})? (\S+)", text, re.M)
    return any(float(value) > 0 for value in found)


def figures(process):
    """Resident memory in MiB, and the CPU seconds of it and of its children that ended."""
    status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
    stat = pathlib.Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    ticks = sum(int(value) for value in stat[11:15])  # utime, stime, and those of children
    return int(re.search(r"VmRSS:\s+(\d+)", status).group(1)) / 1024, ticks / os.sysconf("SC_CLK_TCK")
