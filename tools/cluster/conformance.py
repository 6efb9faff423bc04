#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What conformance.sh asks and writes: which tests of Kubernetes are left out, and what came of the others.

    conformance.py skip                      the expression for what is left out
    conformance.py summary DIR PROXY         one proxy's results, in short
    conformance.py verdict DIR PROXY...      status 1 if a test failed with Sluice and not with kube-proxy, where that was run
    conformance.py page DIR >docs/conformance.md
    conformance.py outside PORT              serves what lies outside of the cluster: an empty page, whatever is asked for

DIR/PROXY/*.jsonl have a line for each test (tools/cluster/e2e/main.go).
"""
import collections
import http.server
import json
import pathlib
import re
import sys

PROXIES = {"kube-proxy": "kube-proxy 1.20.2, iptables", "iptables": "Sluice, iptables", "ipvs": "Sluice, ipvs",
           "nftables": "Sluice, nftables"}

# Names of tests, and why they are not run.
LEFT_OUT = [
    (r"\[Disruptive\]", "restarts programs of the control plane or of a node through ssh and systemd"),
    (r"Internet connection|\[Feature:Networking-IPv[46]\]", "asks a server in the Internet"),
    (r"Loadbalanc|LoadBalancer|load balancer|ESIPP|\[Feature:(Ingress|NEG|ServiceFinalizer|PerformanceDNS)\]|Firewall rule",
     "needs a cloud that makes balancers"),
    (r"NetworkPolic|Netpol", "network policies are the CNI's; bridge and host-local have none"),
    (r"\[Feature:SCTP(Connectivity)?\]|SCTP", "needs the kernel module sctp, which not every machine has"),
    (r"\[Feature:(NoSNAT|Example|ProxyTerminatingEndpoints|Networking-DNS|Networking-Performance|KubeProxyDaemonSet.*)\]",
     "of another part than the Service proxy, or of a feature that is off in 1.20"),
    (r"DNS|IngressClass|Ingress API|Proxy version v1|Events|NoSNAT",
     "of the cluster's DNS or of the API server"),
]


# Tests that fail with Sluice on purpose, and why.
INTENDED = {
    "[sig-network] Services should implement service.kubernetes.io/headless":
        "1.20 leaves out Services with that label; 1.36 does not, and Sluice follows it ([differences.md](differences.md))",
}


def results(folder, proxy):
    """{test: line}; the last result of a test counts."""
    found = {}
    for path in sorted((pathlib.Path(folder) / proxy).glob("*.jsonl")):
        for line in path.read_text().splitlines():
            result = json.loads(line)
            found[result["test"]] = result
    return found


def count(lines):
    outcomes = collections.Counter(line["outcome"] for line in lines.values())
    return {name: outcomes[name] for name in ("passed", "failed", "skipped")}


def first_line(text):
    """A reason as it fits into a table."""
    line = re.sub(r"\s+", " ", text.strip()).replace("|", "\\|")
    return line if len(line) <= 200 else line[:197] + "..."


def summary(folder, proxy):
    lines = results(folder, proxy)
    print(f"{PROXIES[proxy]}: " + ", ".join(f"{number} {name}" for name, number in count(lines).items()))
    for name, line in sorted(lines.items()):
        if line["outcome"] == "failed":
            print(f"  FAILED {name}: {first_line(line.get('reason', ''))}")


def verdict(folder, proxies):
    known = {name for name, line in results(folder, "kube-proxy").items() if line["outcome"] == "failed"}
    ours = [(proxy, name) for proxy in proxies if proxy != "kube-proxy" for name, line in results(folder, proxy).items()
            if line["outcome"] == "failed" and name not in known and name not in INTENDED]
    empty = [proxy for proxy in proxies if not results(folder, proxy)]
    for proxy, name in ours:
        print(f"only with {PROXIES[proxy]}: FAILED {name}")
    for proxy in empty:
        print(f"{PROXIES[proxy]}: no test was run")
    return 1 if ours or empty else 0


def page(folder):
    everything = {proxy: results(folder, proxy) for proxy in PROXIES}
    print("# What Kubernetes' own tests say\n")
    print("`make conformance` runs the tests of the network that come with Kubernetes 1.20.2 (`test/e2e/network`) in a cluster of this machine\n"
          "([cluster.md](cluster.md)), for each mode of Sluice, and for the real kube-proxy in the same cluster: what fails there, too, is the\n"
          "cluster's. This page is what it printed last; `tools/cluster/conformance.py page` makes it.\n")
    print("| proxy | passed | failed | skipped by the test itself |\n|---|---|---|---|")
    for proxy, lines in everything.items():
        print(f"| {PROXIES[proxy]} | " + " | ".join(str(number) for number in count(lines).values()) + " |")
    print("\nMode ipvs runs on the engine `ebpf` where the kernel has no ip_vs, as the one did on which this was made.\n")
    print("## Left out\n\n| tests with | reason |\n|---|---|")
    for pattern, why in LEFT_OUT:
        print("| `" + pattern.replace("|", "\\|") + f"` | {why} |")
    names = sorted({name for lines in everything.values() for name in lines})
    for title, wanted in (("Failed", "failed"), ("Skipped by the test itself", "skipped")):
        rows = [name for name in names if any(lines.get(name, {}).get("outcome") == wanted for lines in everything.values())]
        print(f"\n## {title}\n")
        if not rows:
            print("None.")
            continue
        print("| test | with | reason |\n|---|---|---|")
        for name in rows:
            which = [proxy for proxy, lines in everything.items() if lines.get(name, {}).get("outcome") == wanted]
            reason = first_line(everything[which[0]][name].get("reason", ""))
            if wanted == "failed" and name in INTENDED:
                reason = f"on purpose: {INTENDED[name]}"
            print(f"| {name} | {', '.join(PROXIES[proxy] for proxy in which)} | {reason} |")
    print("\n## Every test\n\n| test | " + " | ".join(PROXIES.values()) + " |\n|---|" + "---|" * len(PROXIES))
    for name in names:
        print(f"| {name} | " + " | ".join(lines.get(name, {}).get("outcome", "not run") for lines in everything.values()) + " |")


class Outside(http.server.BaseHTTPRequestHandler):
    def do_GET(self):  # noqa: N802
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


def main(arguments):
    match arguments:
        case ["skip"]:
            print("|".join(pattern for pattern, _ in LEFT_OUT))
        case ["summary", folder, proxy]:
            summary(folder, proxy)
        case ["verdict", folder, *proxies] if proxies:
            return verdict(folder, proxies)
        case ["page", folder]:
            page(folder)
        case ["outside", port]:
            http.server.ThreadingHTTPServer(("127.0.0.1", int(port)), Outside).serve_forever()
        case _:
            print(__doc__, file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
