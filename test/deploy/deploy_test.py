#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""deploy/ against a real API server, 1.20.2: `kubectl apply -k` takes every folder; applied over what kubeadm makes, it leaves nothing of that
DaemonSet's privileges and changes nothing that other programs look for; and it grants what the proxy asks for, and nothing else."""
import os
import pathlib
import re
import subprocess
import sys
import tarfile
import tempfile
import unittest

import yaml

SOURCE = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(SOURCE / "test/cluster/lib"))
from rig import ControlPlane, Rig, kubernetes_programs  # noqa: E402

MASTER = "192.168.231.121"
MODES = ("iptables", "ipvs", "nftables")
IMAGE = "localhost/sluice:" + re.search(r"^project\(sluice VERSION (\S+)", (SOURCE / "CMakeLists.txt").read_text(), re.M).group(1)


def kubeadm_manifests():
    """What `kubeadm init` of 1.20.2 makes for kube-proxy, out of its source: the ConfigMap and the DaemonSet."""
    source, = (kubernetes_programs().parent / "source").glob("*.orig.tar.gz")
    with tarfile.open(source) as archive:
        for member in archive:
            if member.name.endswith("/cmd/kubeadm/app/phases/addons/proxy/manifests.go"):
                text = archive.extractfile(member).read().decode()
                break
    values = {"ProxyConfigMap": "kube-proxy", "ProxyConfigMapKey": "config.conf", "ControlPlaneEndpoint": f"https://{MASTER}:6443",
              "Image": "k8s.gcr.io/kube-proxy:v1.20.2", "ProxyConfig": "    mode: \"\"\n    clusterCIDR: 10.244.0.0/16"}
    for name, value in values.items():
        text = re.sub(r"\{\{ *\." + name + r" *\}\}", lambda _, value=value: value, text)
    return [re.search(rf"{name} = `(.*?)`", text, re.S).group(1) for name in ("KubeProxyConfigMap19", "KubeProxyDaemonSet19")]


def kustomize(folder):
    text = subprocess.run(["kubectl", "kustomize", SOURCE / "deploy" / folder], check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout
    return {each["kind"]: each for each in yaml.safe_load_all(text)}


class DeployTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        temporary = tempfile.TemporaryDirectory(prefix="sluice-deploy-")
        cls.addClassCleanup(temporary.cleanup)
        cls.rig = Rig("sldep")
        cls.addClassCleanup(cls.rig.close)
        cls.rig.add_node("master", f"{MASTER}/24")
        cls.plane = ControlPlane(cls.rig, "master", MASTER, pathlib.Path(temporary.name) / "cluster")
        cls.addClassCleanup(cls.plane.close)

    def setUp(self):
        self.addCleanup(self.plane.kubectl, "-n", "kube-system", "delete", "daemonset/kube-proxy", "daemonset/sluice-cleanup", "configmap/kube-proxy", "serviceaccount/kube-proxy",
                        "clusterrolebinding/kubeadm:node-proxier", "--ignore-not-found")

    def apply(self, folder):
        self.plane.kubectl("apply", "-k", SOURCE / "deploy" / folder)

    def live(self, kind, name="kube-proxy"):
        return yaml.safe_load(self.plane.kubectl("-n", "kube-system", "get", kind, name, "-o", "yaml"))

    def pod(self):
        return self.live("daemonset")["spec"]["template"]["spec"]

    def test_every_folder_is_taken_and_taken_again_without_a_change(self):
        for folder in ("base", "config", "cleanup", *MODES):
            with self.subTest(folder):
                self.apply(folder)
                again = self.plane.kubectl("apply", "-k", SOURCE / "deploy" / folder)
                self.assertFalse([line for line in again.splitlines() if not line.endswith("unchanged")], again)

    def test_beside_kubeadms_it_differs_in_what_it_must_alone(self):
        configuration, daemonset = kubeadm_manifests()
        theirs, ours = yaml.safe_load(daemonset), kustomize("base")["DaemonSet"]
        self.assertEqual(ours["metadata"], theirs["metadata"])
        self.assertEqual(ours["spec"]["selector"], theirs["spec"]["selector"])
        self.assertEqual(ours["spec"]["updateStrategy"]["type"], theirs["spec"]["updateStrategy"]["type"])
        theirs, ours = theirs["spec"]["template"], ours["spec"]["template"]
        self.assertEqual(ours["metadata"], theirs["metadata"])
        for name in ("priorityClassName", "hostNetwork", "serviceAccountName", "tolerations", "nodeSelector"):
            self.assertEqual(ours["spec"][name], theirs["spec"][name], name)
        volumes = {each["name"]: each for each in ours["spec"]["volumes"]}
        for each in theirs["spec"]["volumes"]:
            self.assertEqual(volumes.pop(each["name"]), each)
        self.assertEqual(list(volumes), ["sluice", "bpf"])
        (theirs,), (ours,) = theirs["spec"]["containers"], ours["spec"]["containers"]
        for name in ("name", "command", "env", "imagePullPolicy"):
            self.assertEqual(ours[name], theirs[name], name)
        mounts = {each["mountPath"]: each for each in ours["volumeMounts"]}
        for each in theirs["volumeMounts"]:
            self.assertEqual({"readOnly": False} | mounts.pop(each["mountPath"]), {"readOnly": False} | each)
        self.assertEqual(list(mounts), ["/run/sluice", "/sys/fs/bpf"])
        theirs = yaml.safe_load(configuration)
        for folder in MODES:
            ours = kustomize(folder)["ConfigMap"]
            self.assertEqual(ours["data"].keys(), theirs["data"].keys())
            self.assertEqual(ours["metadata"], theirs["metadata"])
            self.assertEqual(yaml.safe_load(ours["data"]["config.conf"])["mode"], folder)
            users = [yaml.safe_load(each["data"]["kubeconfig.conf"])["users"] for each in (ours, theirs)]
            self.assertEqual(*users)

    def test_over_kubeadms_it_takes_every_privilege_away_and_keeps_the_settings(self):
        for manifest in kubeadm_manifests():
            self.plane.kubectl("create", "-f", "-", text=manifest)
        before = self.live("configmap")["data"]
        self.assertTrue(self.pod()["containers"][0]["securityContext"]["privileged"])
        self.apply("base")
        self.assertEqual(self.live("configmap")["data"], before)
        self.assert_least(self.pod(), ["NET_ADMIN", "NET_RAW", "BPF", "PERFMON"])
        self.assertEqual({each["image"] for each in self.pod()["containers"] + self.pod()["initContainers"]}, {IMAGE})
        self.plane.kubectl("-n", "kube-system", "patch", "daemonset", "kube-proxy", "--patch", (SOURCE / "deploy/ipvs/privileges.yaml").read_text())
        self.assert_least(self.pod(), ["NET_ADMIN", "BPF", "PERFMON"])

    def test_kubeadms_own_runs_with_the_image_alone_replaced(self):
        _, daemonset = kubeadm_manifests()
        self.plane.kubectl("create", "-f", "-", text=daemonset)
        self.plane.kubectl("-n", "kube-system", "set", "image", "daemonset/kube-proxy", f"kube-proxy={IMAGE}")
        command = self.pod()["containers"][0]["command"]
        names = (SOURCE / "tools/image/root.py").read_text()
        self.assertIn(f'"{command[0].lstrip("/")}"', names)

    def assert_least(self, pod, capabilities):
        (container,) = pod["containers"]
        context = container["securityContext"]
        self.assertEqual({name: context.get(name) for name in ("privileged", "allowPrivilegeEscalation", "readOnlyRootFilesystem")},
                         {"privileged": False, "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True})
        self.assertEqual(context["capabilities"], {"drop": ["ALL"], "add": capabilities})
        self.assertEqual(pod["securityContext"]["seccompProfile"], {"type": "RuntimeDefault"})
        self.assertEqual(container["livenessProbe"]["httpGet"]["path"], "/livez")
        self.assertEqual(container["readinessProbe"]["httpGet"]["path"], "/healthz")

    def test_each_mode_has_the_capabilities_that_its_file_explains(self):
        for mode, capabilities in (("iptables", ["NET_ADMIN", "NET_RAW"]), ("ipvs", ["NET_ADMIN", "BPF", "PERFMON"]), ("nftables", ["NET_ADMIN"])):
            self.assert_least(kustomize(mode)["DaemonSet"]["spec"]["template"]["spec"], capabilities)
            lines = (SOURCE / f"deploy/{mode}/privileges.yaml").read_text().splitlines()
            for line in lines[lines.index("            add:") + 1:]:
                self.assertRegex(line, r"^            - [A-Z_]+ +# \w", "a capability without its reason")

    def test_the_account_may_do_what_the_proxy_asks_for_and_nothing_else(self):
        self.apply("base")
        account = "--as=system:serviceaccount:kube-system:kube-proxy"

        def may(*words):
            return subprocess.run(["ip", "netns", "exec", self.rig.ns("master"), "kubectl", "--kubeconfig", self.plane.state / "admin.kubeconfig", "auth", "can-i",
                                   *words, "--all-namespaces", account], capture_output=True, text=True, check=False).stdout.strip() == "yes"
        for resource in ("services", "endpointslices.discovery.k8s.io", "nodes"):
            for verb in ("list", "watch"):
                self.assertTrue(may(verb, resource), f"{verb} {resource}")
        for resource in ("events", "events.events.k8s.io"):
            self.assertTrue(may("create", resource), resource)
        for words in (("get", "secrets"), ("list", "pods"), ("list", "configmaps"), ("update", "services"), ("patch", "nodes"), ("delete", "services")):
            self.assertFalse(may(*words), words)
        self.assertEqual(self.live("clusterrolebinding", "kubeadm:node-proxier")["roleRef"]["name"], "system:node-proxier")
        bindings = yaml.safe_load(self.plane.kubectl("get", "clusterrolebindings,rolebindings", "-A", "-o", "yaml"))["items"]
        ours = [each["roleRef"]["name"] for each in bindings
                if {"kind": "ServiceAccount", "name": "kube-proxy", "namespace": "kube-system"} in (each.get("subjects") or [])]
        self.assertEqual(ours, ["system:node-proxier"])


if __name__ == "__main__":
    os.environ.pop("KUBECONFIG", None)
    unittest.main(verbosity=2)
