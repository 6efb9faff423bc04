#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What deploy/ grants each mode is enough, and none of it is too much: the init container and the proxy of the DaemonSet run from the image, in
containers with the security contexts that `kubectl kustomize` shows, read-only root, seccomp and dropped capabilities included; then again with
one capability fewer, which must not serve. Mode ipvs by the engine in BPF; the kernel's needs ip_vs: test/guest has it.

usage: privileges_test.py BUILD-FOLDER [unittest options]      (as root)"""
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time
import unittest

import yaml

from containers import PATIENCE, Containerd, run, wait_for

SOURCE = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(sys.argv[1]).resolve()
EXAMPLE = SOURCE / "examples/serve-a-folder"


class PrivilegesTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        temporary = tempfile.TemporaryDirectory(prefix="sluice-privileges-")
        cls.addClassCleanup(temporary.cleanup)
        cls.folder = pathlib.Path(temporary.name)
        run(SOURCE / "tools/image/build.py", "--build", BUILD, "--out", cls.folder / "image", "--name", "localhost/sluice:test",
            env=os.environ | {"SOURCE_DATE_EPOCH": "1700000000"})
        cls.containerd = Containerd(cls.folder / "containerd")
        cls.addClassCleanup(cls.containerd.close)
        cls.containerd.ctr("images", "import", cls.folder / "image/sluice.tar")

    def setUp(self):
        self.netns = f"sluice-privileges-{os.getpid()}"
        run("ip", "netns", "add", self.netns)
        self.addCleanup(run, "ip", "netns", "delete", self.netns)
        for words in ("link set lo up", "link add net0 type bridge", "link set net0 up", "addr add 192.0.2.1/24 dev net0", "route add 10.96.0.0/12 dev net0"):
            run("ip", "-n", self.netns, *words.split())
        pod = subprocess.Popen(self.inside(sys.executable, "-m", "http.server", "8080", "--bind", "192.0.2.1", "--directory", EXAMPLE / "site"),
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.addCleanup(pod.wait)
        self.addCleanup(pod.kill)
        self.volumes = pathlib.Path(tempfile.mkdtemp(dir=self.folder))

    def inside(self, *words):
        return ["ip", "netns", "exec", self.netns, *map(str, words)]

    def pod_of(self, overlay):
        """(init container, container) of the DaemonSet, with what Kubernetes would put into their volumes."""
        text = subprocess.run(["kubectl", "kustomize", SOURCE / "deploy" / overlay], check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout
        objects = {each["kind"]: each for each in yaml.safe_load_all(text)}
        pod = objects["DaemonSet"]["spec"]["template"]["spec"]
        for name in ("kube-proxy", "sluice"):
            (self.volumes / name).mkdir(exist_ok=True)
        (self.volumes / "xtables-lock").touch()
        (self.volumes / "lib-modules").mkdir(exist_ok=True)
        if not (self.volumes / "bpf").exists():
            (self.volumes / "bpf").mkdir()
            run("mount", "-t", "bpf", "bpf", self.volumes / "bpf")
            self.addCleanup(run, "umount", "--lazy", self.volumes / "bpf")
        for name, content in objects.get("ConfigMap", {"data": {}})["data"].items():
            (self.volumes / "kube-proxy" / name).write_text(content)
        for container in (*pod["initContainers"], *pod["containers"]):
            container["securityContext"] = pod.get("securityContext", {}) | container["securityContext"]
        return pod["initContainers"][0], pod["containers"][0]

    def start(self, container):
        name = f"c{time.monotonic_ns()}"
        log = self.volumes / f"{name}.log"
        mounts = [(self.volumes / each["name"], each["mountPath"], each.get("readOnly", False)) for each in container["volumeMounts"]]
        mounts.append((EXAMPLE / "manifests", "/manifests", True))
        command = [word.replace("$(NODE_NAME)", "node-a") for word in container["command"]]
        if any(word.startswith("--config=") for word in command):
            command.append("--manifests=/manifests")  # in the API server's place
        process = self.containerd.start("localhost/sluice:test", name, command, netns=self.netns, mounts=mounts,
                                        context=container["securityContext"], log=log)
        self.addCleanup(self.end, process, name)
        return process, name, log

    def end(self, process, name):
        if process.poll() is None:
            self.containerd.kill(name, "SIGKILL")
            process.wait(PATIENCE)

    def answers(self):
        return run(*self.inside("curl", "--silent", "--max-time", "2", "http://10.96.0.80/hello.txt"), check=False).returncode == 0

    def prepare(self, init):
        process, _, log = self.start(init)
        self.assertEqual(process.wait(PATIENCE), 0, log.read_text())
        self.assertIn("System initialized and --init-only specified", log.read_text())

    def serve(self, container):
        process, name, log = self.start(container)
        wait_for(lambda: f"the Service answers; the log:\n{log.read_text()}", self.answers)
        complaints = [line for line in log.read_text().splitlines() if re.match(r"[EW][0-9]{4} ", line)]
        self.assertEqual(complaints, [])
        self.end(process, name)

    def assert_does_not_serve_without(self, capability, container):
        context = container["securityContext"]
        rest = [each for each in context["capabilities"]["add"] if each != capability]
        self.assertLess(len(rest), len(context["capabilities"]["add"]))
        container = container | {"securityContext": context | {"capabilities": {"drop": ["ALL"], "add": rest}}}
        process, name, log = self.start(container)
        wait_for(lambda: f"an error; the log:\n{log.read_text()}",
                 lambda: process.poll() is not None or re.search(r"^E[0-9]{4} .*(not permitted|denied|ermission)", log.read_text(), re.M))
        self.assertFalse(self.answers())
        self.end(process, name)

    def test_mode_iptables_over_nf_tables(self):
        init, container = self.pod_of("iptables")
        self.prepare(init)
        self.assertEqual(run(*self.inside("cat", "/proc/sys/net/ipv4/conf/all/route_localnet")).stdout.strip(), "1")
        self.assert_does_not_serve_without("NET_ADMIN", container)
        # By the file nf_tables needs no more.
        only = container["securityContext"] | {"capabilities": {"drop": ["ALL"], "add": ["NET_ADMIN"]}}
        self.serve(container | {"securityContext": only})
        self.assertIn("KUBE-SVC-", run(*self.inside("iptables-nft-save", "-t", "nat")).stdout)
        # The way out: what the proxy may not undo, since it may not write settings, deploy/cleanup may.
        cleanup, _ = self.pod_of("cleanup")
        process, _, log = self.start(cleanup | {"securityContext": container["securityContext"]})
        self.assertEqual(process.wait(PATIENCE), 1, log.read_text())
        self.assertIn("left: our value of net/ipv4/conf/all/route_localnet", log.read_text())
        process, _, log = self.start(cleanup)
        self.assertEqual(process.wait(PATIENCE), 0, log.read_text())
        self.assertNotIn("KUBE-", run(*self.inside("iptables-nft-save")).stdout)
        self.assertEqual(run(*self.inside("cat", "/proc/sys/net/ipv4/conf/all/route_localnet")).stdout.strip(), "0")

    def test_mode_iptables_over_legacy_tables(self):
        run(*self.inside("iptables-legacy", "-t", "mangle", "-N", "KUBE-IPTABLES-HINT"))  # as kubelet leaves it where the node uses these
        init, container = self.pod_of("iptables")
        self.prepare(init)
        self.assert_does_not_serve_without("NET_RAW", container)
        self.serve(container)
        self.assertIn("KUBE-SVC-", run(*self.inside("iptables-legacy-save", "-t", "nat")).stdout)

    def test_mode_ipvs_by_the_engine_in_bpf(self):
        init, container = self.pod_of("ipvs")
        config = self.volumes / "kube-proxy/config.conf"
        config.write_text(config.read_text() + "---\napiVersion: sluice.dev/v1alpha1\nkind: SluiceConfiguration\nipvs: {engine: ebpf}\n")
        self.prepare(init)
        for capability in ("NET_ADMIN", "BPF", "PERFMON"):
            self.assert_does_not_serve_without(capability, container)
        self.serve(container)
        self.assertIn("sluice_egress", run(*self.inside("tc", "filter", "show", "dev", "net0", "egress")).stdout)
        self.assertTrue(list((self.volumes / "bpf").glob("sluice/*/*/sluice_settings")), "what outlives the container")


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[2:]], verbosity=2)
