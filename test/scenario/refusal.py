# SPDX-License-Identifier: Apache-2.0
"""The statement `refuse SERVICE` of scenario files: the kernel refuses that Service for ever.

What a kernel refuses differs by proxy mode, so each mode has an entry in REFUSALS. In all of them a refused port must cost the others nothing
and be reported wherever operators look: Refusal.problems().
"""
import json
import shutil

from rig import run

# Of a mode that serves in no scenario: it must go although one port is refused.
REMAINS = "table ip kube-proxy"
NOWHERE = "239.1.1.1"


def refused_by_xtables(service, folder, _):
    """The real programs are given a match that they refuse in each rule of the Service."""
    programs = folder / "programs"
    programs.mkdir(exist_ok=True)
    for name in ("iptables-restore", "iptables-nft-restore", "iptables-legacy-restore"):
        real = shutil.which(name)
        if real:
            (programs / name).write_text(f"""#!/bin/sh
sed '/--comment "default\\/{service}[: "]/s|^-A [^ ]* |&-m recent --rcheck --seconds 0 |' | {real} "$@"
""")
            (programs / name).chmod(0o755)
    return {"PATH": f"{programs}:/usr/sbin:/usr/bin:/sbin:/bin"}


def refused_by_ip_vs(service, _, slices):
    """ip_vs takes no real server at a multicast address (ip_vs_new_dest())."""
    for made in slices:
        if made["metadata"]["labels"]["kubernetes.io/service-name"] == service:
            made["endpoints"].append({"addresses": [NOWHERE], "conditions": {"ready": True}})
    return {}


def refused_by_nf_tables(service, _, slices):
    """A Service port has no more than 65,535 places in our maps."""
    for made in slices:
        if made["metadata"]["labels"]["kubernetes.io/service-name"] == service:
            made["endpoints"] += [{"addresses": [f"10.128.{i // 256}.{i % 256}"], "conditions": {"ready": True}} for i in range(65536)]
    return {}


# Given the Service's name, a folder and all slices; may change the slices and returns what the proxies need in their environment.
REFUSALS = {"iptables": refused_by_xtables, "ipvs": refused_by_ip_vs, "nftables": refused_by_nf_tables}


class Refusal:
    def __init__(self, service, mode):
        self.service, self.make = service, REFUSALS[mode]
        self.full_syncs = {}  # by node, of the first look

    def prepare(self, namespaces, folder, slices):
        """What the proxies need in their environment."""
        for namespace in namespaces:
            run("ip", "netns", "exec", namespace, "nft", "add", REMAINS)
        return self.make(self.service, folder, slices)

    def problems(self, rig, node, sluice, log, removed):
        """What is not as it must be: one port is refused, or none since its Service was removed, and everything else is well."""
        on_node = ("ip", "netns", "exec", rig.ns(node))
        status = json.loads(run(*on_node, sluice, "status", "-o", "json", check=False))
        four = next(family for family in status["families"] if family["family"] == "IPv4")
        ports = [each["servicePort"].split(":")[0] for each in four["refusedPorts"]]
        wanted = [] if self.service in removed else [f"default/{self.service}"]
        metrics = rig.get(node, 10249, "/metrics")[1]
        found = {
            "the status lists as refused": (ports, wanted),
            "the family is synced": (four["synced"], True),
            "full syncs since the first": (four["fullSyncs"] - self.full_syncs.setdefault(node, four["fullSyncs"]), 0),
            "the metric says": (f'sluice_refused_service_ports{{ip_family="IPv4"}} {len(wanted)}\n' in metrics, True),
            "/healthz": (rig.get(node, 10256, "/healthz")[0], 200),
            "lines of the log about the refusal": (log.read_text().count("The kernel refuses a Service port"), 1),
            f"{REMAINS} stands": (REMAINS in run(*on_node, "nft", "list", "tables"), False),
        }
        return [f"node {node}: {what}: {seen}, expected {right}" for what, (seen, right) in found.items() if seen != right]
