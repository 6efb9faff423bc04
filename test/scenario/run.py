#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs scenario files: what a packet meets, one behaviour a file, on the real kernel in network namespaces.

Two nodes, a and b, run `sluice proxy` on the manifests that a file describes; pods a1, a2, a3 live behind a, b1, b2 behind b; each
serves TCP and UDP on 8080 and 8081. `client` is outside the cluster. The language, one statement a line, # starts a comment:

  proxy    KEY=VALUE...                      a field of KubeProxyConfiguration, e.g. clusterCIDR=null or iptables.masqueradeAll=true
  node     NAME zone=ZONE                    a Node object with a zone label
  service  NAME TYPE CLUSTER-IP[,IP] PORT... [KEY=VALUE...]
           PORT is proto/port[:node-port][@name]; keys: external, ingress (ip or ip/Proxy), ranges, external-policy,
           internal-policy, affinity (seconds), health, created (a time), label.KEY, annotation.KEY
  endpoint SERVICE POD:PORT[@name] [not-ready] [serving] [terminating] [zones=Z,..] [nodes=N,..] [slice=NAME] [v6]
  packet   FROM -> ADDRESS proto/port [via=NODE]
  expect   POD... [source=kept|node|ADDRESS]   every one of these pods answers, and no other; or: refused, timeout
  expect   one-of POD...                       the same single pod answers every time
  expect@MODE gap=GAP ...                      after an expect: what differs in that mode, by a gap that it declares (gaps.py)
  expect@ipvs/ENGINE gap=GAP ...               the same, on that engine of mode ipvs alone
  removed  SERVICE                             from here on it is gone, with its slices, while the proxies run
  refuse   SERVICE                             the kernel refuses it for ever, and this costs the others nothing (refusal.py); needs node statements
  only     MODE...                             the modes that the file is about; in the others it is skipped

usage: run.py SLUICE [--mode MODE] [--engine ENGINE] [FILE...]
MODE: iptables (the default), ipvs, nftables. ENGINE of mode ipvs: kernel (the default), ebpf.
"""

import argparse
import collections
import concurrent.futures
import json
import os
import pathlib
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "cluster/lib"))
from gaps import Gaps, UndeclaredGap, status_of  # noqa: E402
from refusal import Refusal  # noqa: E402
from rig import ANSWER_PATIENCE, PATIENCE, SILENCE, Rig, run, wait_for  # noqa: E402

NODES = {"a": ("192.168.231.122", "fd00:231::122"), "b": ("192.168.231.123", "fd00:231::123")}
CLIENT = ("192.168.231.200", "fd00:231::200")
PODS = {name: (f"10.244.{net}.{host}", f"fd00:244:{net}::{host}") for name, net, host in
        (("a1", 1, 1), ("a2", 1, 2), ("a3", 1, 3), ("b1", 2, 1), ("b2", 2, 2))}
PORTS = (8080, 8081)
MODES = ("iptables", "ipvs", "nftables")
ENGINES = ("kernel", "ebpf")  # of mode ipvs
DEFAULT_PROXY = {"clusterCIDR": "10.244.0.0/16,fd00:244::/32"}


class Failure(Exception):
    pass


def parse_pairs(words):
    pairs = {}
    for word in words:
        key, _, value = word.partition("=")
        pairs[key] = value
    return pairs


class Scenario:
    """One file: the objects it describes, and its packets with what is expected of each."""

    def __init__(self, path, mode, engine="kernel"):
        self.path, self.mode, self.engine, self.concerned, self.refusal = path, mode, engine, True, None
        self.proxy, self.objects, self.slices = {"mode": mode, **DEFAULT_PROXY}, [], {}
        self.phases = [(None, [])]  # the Service that was removed before, and the checks
        self.gaps = Gaps(mode)
        for number, line in enumerate(path.read_text().splitlines(), 1):
            words = line.split("#", 1)[0].split()
            if not words:
                continue
            statement, at, place = words[0].partition("@")
            if at:
                ours, words = self.words_of_place(number, statement, place, words)
                if not ours:
                    continue
            handler = getattr(self, f"read_{statement}", None)
            if handler is None:
                raise Failure(f"{path.name}:{number}: there is no statement '{words[0]}'")
            try:
                handler(words[1:], number)
            except (IndexError, ValueError, KeyError) as error:
                raise Failure(f"{path.name}:{number}: cannot read '{line.strip()}': {error!r}") from error
        if not self.checks or any(expected is None for _, _, expected in self.checks):
            raise Failure(f"{path.name}: every packet needs an expect")

    def words_of_place(self, number, statement, place, words):
        """Of `statement@place`: whether it is about what we run in, and its words without the gap."""
        mode, slash, engine = place.partition("/")
        try:
            if mode not in MODES:
                raise ValueError(f"there is no mode '{mode}'")
            if slash and (mode != "ipvs" or engine not in ENGINES):
                raise ValueError(f"mode {mode} has no engine '{engine}'")
            if statement != "expect":
                raise ValueError("only an expect may differ by mode")
            ours = mode == self.mode and (not slash or engine == self.engine)
            return ours, [words[0], *(self.gaps if ours else Gaps(mode)).take_from(words[1:])]
        except ValueError as error:
            raise Failure(f"{self.path.name}:{number}: {error}") from error

    @property
    def checks(self):
        return [check for _, checks in self.phases for check in checks]

    def items(self, removed):
        """All objects but the Services that are removed, and theirs."""
        of_service = lambda made: made["metadata"]["labels"].get("kubernetes.io/service-name")
        return [*(o for o in self.objects if o["kind"] != "Service" or o["metadata"]["name"] not in removed),
                *(made for made in self.slices.values() if of_service(made) not in removed)]

    def read_removed(self, words, _):
        (name,) = words
        if not any(o["kind"] == "Service" and o["metadata"]["name"] == name for o in self.objects):
            raise ValueError(f"there is no Service {name}")
        self.phases.append((name, []))

    def read_refuse(self, words, _):
        (name,) = words
        self.refusal = Refusal(name, self.mode)

    def read_only(self, words, _):
        self.concerned = self.mode in words

    def read_proxy(self, words, _):
        self.proxy.update(parse_pairs(words))

    def read_node(self, words, _):
        labels = {"topology.kubernetes.io/zone": parse_pairs(words[1:])["zone"]}
        self.objects.append({"apiVersion": "v1", "kind": "Node", "metadata": {"name": words[0], "labels": labels},
                             "status": {"addresses": [{"type": "InternalIP", "address": a} for a in NODES[words[0]]]}})

    def read_service(self, words, _):
        name, kind, addresses, *rest = words
        spec = {"type": kind, "ports": []}
        metadata, status = {"name": name, "namespace": "default", "labels": {}}, {}
        addresses = addresses.split(",")
        spec["clusterIP"] = addresses[0]
        if addresses[0] != "None":
            spec["clusterIPs"] = addresses
            spec["ipFamilies"] = ["IPv6" if ":" in a else "IPv4" for a in addresses]
        for word in rest:
            if "=" not in word:
                spec["ports"].append(service_port(word))
                continue
            key, value = word.split("=", 1)
            if key == "external":
                spec["externalIPs"] = value.split(",")
            elif key == "ingress":
                status["loadBalancer"] = {"ingress": [ingress(entry) for entry in value.split(",")]}
            elif key == "ranges":
                spec["loadBalancerSourceRanges"] = value.split(",")
            elif key == "external-policy":
                spec["externalTrafficPolicy"] = value
            elif key == "internal-policy":
                spec["internalTrafficPolicy"] = value
            elif key == "affinity":
                spec["sessionAffinity"] = "ClientIP"
                spec["sessionAffinityConfig"] = {"clientIP": {"timeoutSeconds": int(value)}}
            elif key == "health":
                spec["healthCheckNodePort"] = int(value)
            elif key == "created":
                metadata["creationTimestamp"] = value
            elif key == "external-name":
                spec["externalName"] = value
            elif key.startswith("label."):
                metadata["labels"][key.removeprefix("label.")] = value
            elif key.startswith("annotation."):
                metadata.setdefault("annotations", {})[key.removeprefix("annotation.")] = value
            else:
                raise ValueError(f"unknown key {key}")
        self.objects.append({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec, "status": status})

    def read_endpoint(self, words, _):
        name, where, *flags = words
        where, _, port_name = where.partition("@")
        pod, port = where.split(":")
        pairs = parse_pairs(flags)
        six = "v6" in pairs
        key = (name, pairs.get("slice", "x"), six)
        made = self.slices.setdefault(key, {
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv6" if six else "IPv4",
            "metadata": {"name": f"{name}-{key[1]}-{'6' if six else '4'}", "namespace": "default", "labels": {"kubernetes.io/service-name": name}},
            "endpoints": [], "ports": []})
        for protocol in ("TCP", "UDP"):
            entry = {"name": port_name + ("u" if protocol == "UDP" and not port_name else ""), "protocol": protocol, "port": int(port)}
            if entry not in made["ports"]:
                made["ports"].append(entry)
        conditions = {"ready": "not-ready" not in pairs, "serving": "not-ready" not in pairs or "serving" in pairs, "terminating": "terminating" in pairs}
        hints = {}
        if "zones" in pairs:
            hints["forZones"] = [{"name": zone} for zone in pairs["zones"].split(",")]
        if "nodes" in pairs:
            hints["forNodes"] = [{"name": node} for node in pairs["nodes"].split(",")]
        endpoint = {"addresses": [PODS[pod][six]], "conditions": conditions, "nodeName": pod[0], **({"hints": hints} if hints else {})}
        if endpoint not in made["endpoints"]:
            made["endpoints"].append(endpoint)

    def read_packet(self, words, number):
        if words[1] != "->":
            raise ValueError("packet FROM -> ADDRESS proto/port")
        protocol, port = words[3].split("/")
        via = parse_pairs(words[4:]).get("via", "a")
        self.phases[-1][1].append([number, (words[0], protocol.upper(), words[2], int(port), via), None])

    def read_expect(self, words, _):
        self.phases[-1][1][-1][2] = words


def write_manifests(folder, items):
    # A proxy must never read half of it.
    made = folder / ".all.json"
    made.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))
    made.rename(folder / "all.json")


def service_port(word):
    word, _, name = word.partition("@")
    protocol, _, numbers = word.partition("/")
    port, _, node_port = numbers.partition(":")
    # Ports without a name are distinguished by protocol in the slices as the API would have it: by an explicit name.
    made = {"name": name + ("u" if protocol == "udp" and not name else ""), "protocol": protocol.upper(), "port": int(port)}
    if node_port:
        made["nodePort"] = int(node_port)
    return made


def ingress(entry):
    address, _, mode = entry.partition("/")
    return {"ip": address, **({"ipMode": mode} if mode else {})}


class Runner:
    def __init__(self, sluice, folder):
        self.sluice, self.folder = sluice, pathlib.Path(folder)
        self.rig = rig = Rig("slscn")
        for name, (four, six) in NODES.items():
            rig.add_node(name, f"{four}/24", f"{six}/64", others=["192.168.122.1/24"] if name == "a" else [])
        rig.add_client("client", f"{CLIENT[0]}/24", f"{CLIENT[1]}/64")
        for name, addresses in PODS.items():
            rig.add_pod(name, name[0], *addresses)
            for port in PORTS:
                rig.serve(name, port, f"{name}:{port}")
        for here, there, net in (("a", "b", 2), ("b", "a", 1)):
            rig.route(here, f"10.244.{net}.0/24", NODES[there][0])
            rig.route(here, f"fd00:244:{net}::/64", NODES[there][1])
        rig.add_router("192.168.231.1", "fd00:231::1")
        self.routed = {}

    def run(self, scenario):
        """Returns in words what the mode cannot do of it."""
        folder = self.folder / scenario.path.stem
        manifests = folder / "manifests"
        manifests.mkdir(parents=True)
        nodes = [self.rig.ns(node) for node in NODES]
        environment = scenario.refusal.prepare(nodes, folder, scenario.slices.values()) if scenario.refusal else {}
        write_manifests(manifests, scenario.items(set()))
        config = {"apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration", "conntrack": {"maxPerCore": 0}}
        for key, value in scenario.proxy.items():
            *path, last = key.split(".")
            target = config
            for part in path:
                target = target.setdefault(part, {})
            target[last] = {"null": None, "true": True, "false": False}.get(value, value.split(";") if ";" in value or last == "nodePortAddresses" else value)
        ours = {"apiVersion": "sluice.dev/v1alpha1", "kind": "SluiceConfiguration", "ipvs": {"engine": scenario.engine}}
        documents = [config, ours] if scenario.mode == "ipvs" else [config]
        (folder / "config.yaml").write_text("\n---\n".join(json.dumps(each) for each in documents) + "\n")
        proxies = [self.rig.spawn(node, [self.sluice, "proxy", f"--config={folder}/config.yaml", f"--manifests={manifests}", f"--hostname-override={node}"],
                                  folder / f"{node}.log", {"XTABLES_LOCKFILE": f"{folder}/{node}.lock", **environment}) for node in NODES]
        try:
            for node in NODES:
                wait_for(f"the first sync of node {node}; its log:\n{(folder / f'{node}.log').read_text()}", lambda node=node: self.synced(node))
            gaps = scenario.gaps.quote(status_of(self.sluice, self.rig.ns("a")))
            with concurrent.futures.ThreadPoolExecutor(8) as pool:
                for _, packet, _ in scenario.checks:
                    self.route_client(scenario.path, packet)
                removed = set()
                for name, checks in scenario.phases:
                    if name is not None:
                        removed.add(name)
                        write_manifests(manifests, scenario.items(removed))
                    problems = self.check_all(lambda checks=checks: self.check_packets(scenario, checks, pool), 0 if name is None else 120)
                    if scenario.refusal and not problems:
                        problems = self.check_all(lambda: self.check_refusal(scenario.refusal, folder, removed), PATIENCE)
                    if problems:
                        break
        finally:
            for proxy in proxies:
                self.rig.stop(proxy)
            for node in NODES:
                run("ip", "netns", "exec", self.rig.ns(node), self.sluice, "cleanup")
                run("ip", "netns", "exec", self.rig.ns(node), "conntrack", "-F", check=False)
        if problems:
            raise Failure("\n".join(problems))
        return gaps

    @staticmethod
    def check_all(check, patience):
        """The problems; those of a change that the proxies may not have heard of yet count after so many seconds."""
        deadline = time.monotonic() + patience
        while True:
            problems = check()
            if not problems or time.monotonic() > deadline:
                return problems
            time.sleep(0.2)

    def check_packets(self, scenario, checks, pool):
        return [problem for problem in pool.map(lambda check: self.check(scenario, *check), checks) if problem]

    def check_refusal(self, refusal, folder, removed):
        return [problem for node in NODES for problem in refusal.problems(self.rig, node, self.sluice, folder / f"{node}.log", removed)]

    def synced(self, node):
        try:
            _, text = self.rig.get(node, 10249, "/metrics")
        except OSError:
            return False
        return all(f'kubeproxy_sync_proxy_rules_last_timestamp_seconds{{ip_family="{family}"}}' in text for family in ("IPv4", "IPv6"))

    def route_client(self, path, packet):
        source, _, address, _, via = packet
        if source != "client" or address in {a for pair in NODES.values() for a in pair}:
            return
        six = ":" in address
        if self.routed.setdefault((path, address), via) != via:
            raise Failure(f"{path.name}: the client's packets to {address} can go by one node only")
        run("ip", "-n", self.rig.ns("client"), "route", "replace", f"{address}/{128 if six else 32}", "via", NODES[via][six])

    def check(self, scenario, number, packet, expected):
        source, protocol, address, port, via = packet
        where = f"{scenario.path.name}:{number}: {source} -> {address} {protocol}/{port}"
        options = parse_pairs(w for w in expected if "=" in w)
        names = [w for w in expected if "=" not in w]
        answers = collections.Counter()
        seen_sources = set()
        one = names[0] == "one-of"
        # As many requests as make it very unlikely that one of the pods is never picked.
        wanted = set(names[1:] if one else names)
        for count in range(3 if names[0] in ("refused", "timeout") else 40 * max(1, len(wanted) - 1) if not one else 16):
            who, client = self.rig.probe(source, protocol, address, port, SILENCE if "timeout" in wanted else ANSWER_PATIENCE)
            answers[who.split(":")[0] if wanted and ":" not in "".join(wanted) else who] += 1
            seen_sources.add(client)
            if not set(answers) <= wanted or not one and count >= 3 and set(answers) == wanted:
                break
        if one and (len(answers) != 1 or not set(answers) <= wanted):
            return f"{where}: expected always the same one of {sorted(wanted)}, got {dict(answers)}"
        if not one and set(answers) != wanted:
            return f"{where}: expected {sorted(wanted)}, got {dict(answers)}"
        six = ":" in address
        own = {**PODS, **NODES, "client": CLIENT}[source][six]
        if options.get("source") == "kept" and seen_sources != {own}:
            return f"{where}: the pods saw {sorted(seen_sources)}, expected the client's own {own}"
        if options.get("source") == "node" and seen_sources & {own, ""}:
            return f"{where}: the pods saw {sorted(seen_sources)}, expected a masqueraded address"
        if options.get("source") not in (None, "kept", "node") and seen_sources != {options["source"]}:
            return f"{where}: the pods saw {sorted(seen_sources)}, expected {options['source']}"
        return None

    def close(self):
        self.rig.close()


def main():
    if os.geteuid() != 0:
        sys.exit("run.py: needs root, for network namespaces")
    words = argparse.ArgumentParser(usage="run.py SLUICE [--mode MODE] [--engine ENGINE] [FILE...]")
    words.add_argument("sluice")
    words.add_argument("--mode", choices=MODES, default="iptables")
    words.add_argument("--engine", choices=ENGINES)
    words.add_argument("files", nargs="*", type=pathlib.Path)
    words = words.parse_intermixed_args()
    if words.engine and words.mode != "ipvs":
        sys.exit("run.py: --engine is of mode ipvs")
    if words.engine == "ebpf" and "SLUICE_SCENARIO_MOUNTS" not in os.environ:
        # A BPF file system that all processes of the run see, and no other: what is pinned in it ends with the run.
        mounts = "mount -t tmpfs sluice /run/sluice && mkdir /run/sluice/bpf && mount -t bpf bpf /run/sluice/bpf && exec \"$@\""
        os.makedirs("/run/sluice", exist_ok=True)
        os.environ["SLUICE_SCENARIO_MOUNTS"] = "own"
        os.execvp("unshare", ["unshare", "--mount", "sh", "-c", mounts, "sh", sys.executable, *sys.argv])
    sluice = words.sluice
    files = words.files or sorted(pathlib.Path(__file__).resolve().parent.glob("*.scn"))
    passed, failed, skipped = 0, 0, 0
    with tempfile.TemporaryDirectory(prefix="sluice-scenario-") as folder:
        runner = Runner(sluice, folder)
        try:
            for path in files:
                started = time.monotonic()
                try:
                    scenario = Scenario(path, words.mode, words.engine or "kernel")
                    if not scenario.concerned:
                        skipped += 1
                        print(f"SKIP {path.stem}: it is not about mode {words.mode}", flush=True)
                        continue
                    gaps = runner.run(scenario)
                    passed += 1
                    print(f"ok   {path.stem} ({time.monotonic() - started:.1f} s)", flush=True)
                    for gap in gaps:
                        skipped += 1
                        print(f"SKIP a part of {path.stem}: {gap}", flush=True)
                except (Failure, TimeoutError, UndeclaredGap) as error:
                    failed += 1
                    print(f"FAIL {path.stem}\n{error}", flush=True)
        finally:
            runner.close()
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    sys.exit(bool(failed) or not passed)


if __name__ == "__main__":
    main()
