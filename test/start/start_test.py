#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What a proxy reports while it starts and waits: the program itself, each test in a network namespace of its own.

usage: start_test.py SLUICE
"""
import ctypes
import http.server
import json
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import urllib.error
import urllib.parse
import urllib.request

PROGRAM = sys.argv.pop(1)
CLONE_NEWNET = 0x40000000

OBJECTS = """apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec:
  clusterIP: 10.96.0.10
  clusterIPs: [10.96.0.10]
  ports: [{name: http, port: 80, targetPort: 8080, protocol: TCP}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, namespace: shop, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: http, port: 8080, protocol: TCP}]
endpoints:
- {addresses: [10.244.0.5], conditions: {ready: true}}
"""
NODE = """apiVersion: v1
kind: Node
metadata: {name: node-a}
status: {addresses: [{type: InternalIP, address: 192.0.2.1}]}
"""


def wait_for(what, holds, seconds=180):
    """Returns what holds() returned."""
    end = time.monotonic() + seconds
    while not (answer := holds()):
        if time.monotonic() > end:
            raise AssertionError(f"waited in vain for {what}")
        time.sleep(0.1)
    return answer


class FakeApiServer:
    """Has only Nodes with these names; its watches are silent."""

    def __init__(self, nodes):
        self.nodes = list(nodes)
        owner = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):  # noqa: N802
                path = urllib.parse.urlparse(self.path)
                query = urllib.parse.parse_qs(path.query)
                if query.get("watch", ["0"])[0] in ("1", "true"):
                    self.send_response(200)
                    self.send_header("Content-Type", "application/json")
                    self.send_header("Transfer-Encoding", "chunked")
                    self.end_headers()
                    owner.closing.wait()
                    return
                items = []
                kind = {"nodes": "NodeList", "services": "ServiceList"}.get(path.path.split("/")[-1], "EndpointSliceList")
                version = "discovery.k8s.io/v1" if kind == "EndpointSliceList" else "v1"
                if kind == "NodeList":
                    wanted = query.get("fieldSelector", [""])[0].removeprefix("metadata.name=")
                    items = [{"metadata": {"name": name, "resourceVersion": "1"},
                              "status": {"addresses": [{"type": "InternalIP", "address": "192.0.2.1"}]}}
                             for name in owner.nodes if wanted in ("", name)]
                body = json.dumps({"kind": kind, "apiVersion": version, "metadata": {"resourceVersion": "1"},
                                   "items": items}).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_POST(self):  # noqa: N802  (events)
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                self.send_response(201)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"{}")

            def log_message(self, *_):
                pass

        self.closing = threading.Event()
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def close(self):
        self.closing.set()
        self.server.shutdown()
        self.server.server_close()


class Start(unittest.TestCase):
    def setUp(self):
        if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "unshare: needs root")
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        subprocess.run(["ip", "address", "add", "192.0.2.1/32", "dev", "lo"], check=True)
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="sluice-start-"))
        self.addCleanup(shutil.rmtree, self.folder)
        self.manifests = self.folder / "manifests"
        self.log = self.folder / "log"
        self.proxy = None

    def start(self, *arguments):
        with open(self.log, "wb") as log:
            self.proxy = subprocess.Popen([PROGRAM, "proxy", "--data-dir", self.folder / "data", "--hostname-override", "node-a",
                                           "--cluster-cidr", "10.244.0.0/16", *arguments], stdin=subprocess.DEVNULL, stderr=log)
        self.addCleanup(self.end)

    def end(self):
        if self.proxy.poll() is None:
            self.proxy.terminate()
        return self.proxy.wait()

    def status(self, *arguments):
        return subprocess.run([PROGRAM, "status", *arguments], capture_output=True, text=True, check=False)

    def write(self, *documents):
        self.manifests.mkdir(exist_ok=True)
        (self.manifests / "objects.yaml").write_text("---\n".join(documents))

    def kubeconfig(self, server):
        path = self.folder / "kubeconfig"
        path.write_text(f"apiVersion: v1\nkind: Config\nclusters: [{{name: c, cluster: {{server: \"{server}\"}}}}]\n"
                        "contexts: [{name: c, context: {cluster: c, user: u}}]\ncurrent-context: c\n"
                        "users: [{name: u, user: {}}]\n")
        return path


def complaints(text):
    """Lines of a log in klog's form that are errors or warnings."""
    return [line for line in text.splitlines() if re.match(r"[EWF]\d{4} ", line)]


def json_complaints(text):
    lines = [json.loads(line) for line in text.splitlines()]
    return [line for line in lines if line["level"] != "info"]


class AGoodStart(Start):
    """A log with an error at every start hides the one that matters."""

    def check(self, arguments, find_complaints):
        self.start("--manifests", self.manifests, *arguments)
        wait_for("the proxy to serve", lambda: self.status().returncode == 0 or self.proxy.poll() is not None)
        self.assertEqual(self.end(), 0)
        text = self.log.read_text()
        self.assertIn("Programmed all Services", text)
        self.assertEqual(find_complaints(text), [])

    def test_in_text_nothing_looks_like_a_fault(self):
        self.write(OBJECTS, NODE)
        self.check([], complaints)

    def test_in_json_neither(self):
        self.write(OBJECTS, NODE)
        self.check(["--logging-format=json"], json_complaints)

    def test_nor_without_a_node_and_without_an_address(self):
        subprocess.run(["ip", "address", "del", "192.0.2.1/32", "dev", "lo"], check=True)
        self.write(OBJECTS)
        self.check([], complaints)

    def test_but_what_is_wrong_stays_a_complaint(self):
        self.write(OBJECTS, NODE)
        (self.manifests / "broken.yaml").write_text("kind: [")
        for form, find in (("text", complaints), ("json", json_complaints)):
            with self.subTest(form):
                self.start("--manifests", self.manifests, f"--logging-format={form}", "--nodeport-addresses=::1/128")
                wait_for("the proxy to serve", lambda: self.status().returncode == 0)
                self.end()
                text = str(find(self.log.read_text()))
                self.assertIn("broken.yaml", text)
                self.assertIn("::1/128", text)


class ACommandLineThatIsRefused(Start):
    """Whoever asked for JSON collects JSON, whatever is wrong."""

    def run_proxy(self, *arguments):
        found = subprocess.run([PROGRAM, "proxy", *arguments], capture_output=True, text=True, timeout=60)
        return found.returncode, found.stdout + found.stderr

    def test_in_json_every_line_parses(self):
        broken, wrong, as_json = (self.folder / f"{name}.yaml" for name in ("broken", "wrong", "as-json"))
        head = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n"
        broken.write_text(head + "mode: [\n")
        wrong.write_text(head + "mode: nonsense\nbindAddress: nowhere\n")
        as_json.write_text(wrong.read_text() + "logging: {format: json}\n")
        asks = ("--logging-format=json",), ("--logging-format", "json"), ("--logging_format=json",)
        for arguments in (("--nonsense",), ("--proxy-mode=nonsense",), ("--config=/does/not/exist",), ("a-word",), ("--v=x",),
                          (f"--config={broken}",), (f"--config={wrong}",), ("--data-dir=here",)):
            for asked in asks:
                with self.subTest(arguments + asked):
                    code, text = self.run_proxy(*asked, *arguments)
                    self.assertEqual(code, 1)
                    self.assertEqual([line["level"] for line in map(json.loads, text.splitlines())], ["error"])
                    self.assertTrue(self.run_proxy(*arguments)[1].startswith("Error: "))
        code, text = self.run_proxy(f"--config={as_json}")
        self.assertEqual((code, json.loads(text)["level"]), (1, "error"))
        self.assertTrue(self.run_proxy(f"--config={as_json}", "--logging-format=text")[1].startswith("Error: "))

    def test_in_json_cleanup_speaks_json_too(self):
        code, text = self.run_proxy("--cleanup", "--logging-format=json")
        self.assertEqual(code, 0, text)
        self.assertGreater(len([json.loads(line) for line in text.splitlines()]), 0)


class AProxyThatWaits(Start):
    def test_for_its_folder_says_so_and_goes_on_when_it_comes(self):
        self.assertEqual(self.status().returncode, 2, "no proxy yet")
        self.start("--manifests", self.manifests)
        wait_for("the proxy to listen", lambda: self.status().returncode != 2)
        wait_for("the reason", lambda: "No such file or directory" in self.status().stdout)
        asked = self.status()
        self.assertEqual(asked.returncode, 1, asked.stdout)
        self.assertIn(f"pid {self.proxy.pid}", asked.stdout)
        self.assertRegex(asked.stdout, rf"(?m)^waiting for folder {self.manifests} for \d+ s: .*No such file or directory")
        answer = json.loads(self.status("-o", "json").stdout)
        self.assertEqual((answer["pid"], answer["servesAsWanted"]), (self.proxy.pid, False))
        self.assertEqual([wait["what"] for wait in answer["waitsFor"]], [f"folder {self.manifests}"])
        self.assertLessEqual(abs(answer["waitsFor"][0]["since"] - time.time()), 3600)
        self.write(OBJECTS, NODE)
        wait_for("the proxy to serve", lambda: self.status().returncode == 0)
        self.assertEqual(json.loads(self.status("-o", "json").stdout)["waitsFor"], [])

    def test_is_alive_to_a_probe_and_not_ready(self):
        self.start("--manifests", self.manifests, "--detect-local-mode=NodeCIDR")  # which waits for minutes
        alive = wait_for("livez", lambda: self.answer_of("livez"), seconds=120)
        self.assertEqual((alive[0], json.loads(alive[1])["healthy"]), (200, True))
        code, body = wait_for("the reason", lambda: self.answer_of("healthz", "waiting for folder"))
        self.assertEqual((code, json.loads(body)["nodeEligible"]), (503, False))
        self.assertEqual(self.answer_of("metrics", port=10249)[0], 200)
        self.write(OBJECTS, NODE + "spec: {podCIDR: 10.244.0.0/24, podCIDRs: [10.244.0.0/24]}\n")
        wait_for("readiness", lambda: self.answer_of("healthz")[0] == 200)

    def test_for_its_api_server_says_so(self):
        self.start("--kubeconfig", self.kubeconfig("http://127.0.0.1:9"))
        wait_for("the reason", lambda: "refused" in self.status().stdout)
        asked = self.status()
        self.assertEqual(asked.returncode, 1)
        self.assertRegex(asked.stdout, r"(?m)^waiting for API server http://127.0.0.1:9 for \d+ s: .*refused")

    def test_for_a_node_that_is_not_there_says_so_at_once_and_until_it_comes(self):
        api = FakeApiServer(["worker-1", "worker-2"])
        self.addCleanup(api.close)
        self.start("--kubeconfig", self.kubeconfig(api.url))
        words = "it has: worker-1, worker-2"
        wait_for("the reason", lambda: words in self.status().stdout)
        asked = self.status()
        self.assertEqual(asked.returncode, 1)
        self.assertRegex(asked.stdout, rf'(?m)^waiting for Node "node-a" for \d+ s: .*no such Node; {words}')
        self.assertNotIn("assuming loopback", self.log.read_text(), "it is said at once, not after 30 seconds")
        self.assertIn("worker-1, worker-2", self.log.read_text())
        answer = json.loads(wait_for("healthz", lambda: self.answer_of("healthz", words))[1])
        self.assertFalse(answer["nodeEligible"])
        self.assertIn(words, answer["nodeProblem"])
        self.assertIn(words, self.status().stdout)

    def answer_of(self, page, words="", port=10256):
        """Status and body of the page; nothing while no server listens or the body lacks the words."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/{page}", timeout=60) as answer:
                found = answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            found = error.code, error.read().decode()
        except OSError:
            return None
        return found if words in found[1] else None


class ADifference(Start):
    def diff(self, *arguments):
        return subprocess.run([PROGRAM, "diff", *arguments], capture_output=True, text=True, check=False)

    def test_is_shown_object_by_object_and_nothing_is_changed(self):
        asked = self.diff()
        self.assertEqual((asked.returncode, asked.stdout), (2, ""))
        self.assertIn("no proxy of ours runs", asked.stderr)
        self.start("--manifests", self.manifests, "--proxy-mode=iptables", "--iptables-sync-period=1h")
        wait_for("the proxy to listen", lambda: self.status().returncode != 2)
        early = self.diff()
        self.assertEqual((early.returncode, early.stdout), (2, ""), "it waits for its folder")
        self.assertIn("sluice diff: the proxy is starting", early.stderr)
        self.write(OBJECTS, NODE)
        wait_for("the proxy to serve", lambda: self.status().returncode == 0)
        self.assertEqual((self.diff().returncode, self.diff().stdout), (0, "live equals wanted\n"))
        subprocess.run(["iptables-nft", "-t", "nat", "-F", "KUBE-SERVICES"], check=True)
        subprocess.run(["iptables-nft", "-t", "nat", "-A", "KUBE-SERVICES", "-d", "192.0.2.77/32", "-j", "RETURN"], check=True)
        for _ in range(2):
            asked = self.diff()
            self.assertEqual(asked.returncode, 1, asked.stderr)
            self.assertRegex(asked.stdout, r"(?m)^IPv4, mode iptables: live differs from wanted: \d+ missing, 1 unexpected$")
            self.assertRegex(asked.stdout, r"(?m)^- .*10\.96\.0\.10")
            self.assertRegex(asked.stdout, r"(?m)^\+ .*192\.0\.2\.77")
        found = json.loads(self.diff("-o", "json").stdout)
        self.assertFalse(found["equalsWanted"])
        four = next(family for family in found["families"] if family["family"] == "IPv4")
        self.assertEqual((four["dataPlane"], four["live"]["equalsWanted"], len(four["live"]["unexpected"])), ("iptables", False, 1))

    def test_wrong_arguments_are_named(self):
        for arguments, words in ((("-o", "wide"), "unknown output form 'wide': it is one of text, json"), (("now",), "unknown argument 'now'")):
            asked = self.diff(*arguments)
            self.assertEqual(asked.returncode, 2)
            self.assertIn(words, asked.stderr)


class TheLocalSocket(Start):
    def ask(self, line):
        import socket
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect("\0sluice")
            connection.sendall(line.encode())
            return b"".join(iter(lambda: connection.recv(4096), b"")).decode()

    def test_a_program_of_another_version_gets_a_clear_word(self):
        self.start("--manifests", self.manifests)
        wait_for("the proxy to listen", lambda: self.status().returncode != 2)
        self.assertRegex(self.ask("sluice/1 /trace?to=10.0.0.1\n"), r"^sluice/1 refused 2 .*\n.*has no request '/trace'")
        self.assertRegex(self.ask("sluice/9 /status\n"), r"^sluice/1 refused 2 .*\n.*speaks sluice/1")
        self.assertRegex(self.ask("status json\n"), r"^sluice/1 refused 2 ")


if __name__ == "__main__":
    unittest.main()
