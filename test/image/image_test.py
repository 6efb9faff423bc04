#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The image that tools/image makes of a release build: what is in it, that it is the same bytes each time, that the programs which people load
images with take it, and that it serves: from its own root, with nothing else, in a network namespace.

usage: image_test.py BUILD-FOLDER [unittest options]      (as root)"""
import gzip
import hashlib
import io
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import unittest

from containers import PATIENCE, Containerd, run, wait_for

SOURCE = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(sys.argv[1]).resolve()
EPOCH, REVISION = "1700000000", "0123456789abcdef"
# What the DaemonSet grants in mode iptables.
CONTEXT = {"readOnlyRootFilesystem": True, "allowPrivilegeEscalation": False, "seccompProfile": {"type": "RuntimeDefault"},
           "capabilities": {"drop": ["ALL"], "add": ["NET_ADMIN", "NET_RAW"]}}


def build(out, *options, source=SOURCE, build_folder=BUILD, **environment):
    return run(source / "tools/image/build.py", "--build", build_folder, "--out", out, "--revision", REVISION, *options,
               env=os.environ | {"SOURCE_DATE_EPOCH": EPOCH} | environment)


def blob(out, digest):
    content = (out / "oci/blobs/sha256" / digest.removeprefix("sha256:")).read_bytes()
    assert "sha256:" + hashlib.sha256(content).hexdigest() == digest
    return content


def manifest_of(out):
    return json.loads(blob(out, json.loads((out / "oci/index.json").read_text())["manifests"][0]["digest"]))


def unpack(out, root):
    for layer in manifest_of(out)["layers"]:
        with tarfile.open(fileobj=io.BytesIO(gzip.decompress(blob(out, layer["digest"])))) as archive:
            archive.extractall(root)


def paths_of(out):
    """{path: (kind and mode, size, package, target of a link)} by contents.txt."""
    result = {}
    for line in (out / "contents.txt").read_text().splitlines():
        mode, size, package, path = line.split(None, 3)
        path, _, target = path.partition(" -> ")
        result[path] = (mode, int(size), package, target)
    return result


class Images:
    """Made once for all tests, with iptables and without."""


def setUpModule():
    temporary = tempfile.TemporaryDirectory(prefix="sluice-image-")
    unittest.addModuleCleanup(temporary.cleanup)
    Images.whole, Images.bare = pathlib.Path(temporary.name, "whole"), pathlib.Path(temporary.name, "bare")
    Images.summary = build(Images.whole, "--name", "localhost/sluice:test").stdout
    build(Images.bare, "--name", "localhost/sluice:bare", "--without-iptables")
    Images.digest = (Images.whole / "digest").read_text().strip()


class ImageTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        temporary = tempfile.TemporaryDirectory(prefix="sluice-image-")
        cls.addClassCleanup(temporary.cleanup)
        cls.folder, cls.out, cls.bare, cls.summary = pathlib.Path(temporary.name), Images.whole, Images.bare, Images.summary

    def test_the_same_bytes_again_and_from_another_folder(self):
        elsewhere = self.folder / "else where"
        shutil.copytree(SOURCE / "tools/image", elsewhere / "tools/image")
        shutil.copy(SOURCE / "CMakeLists.txt", elsewhere)
        shutil.copy(SOURCE / "LICENSE", elsewhere)
        again = self.folder / "again"
        build(again, "--name", "localhost/sluice:test")
        for name in ("digest", "contents.txt", "sluice.tar", "sluice.spdx.json"):
            self.assertEqual((again / name).read_bytes(), (self.out / name).read_bytes(), name)
        build(self.folder / "moved", "--name", "localhost/sluice:test", source=elsewhere)
        self.assertEqual((self.folder / "moved/digest").read_text(), (self.out / "digest").read_text())
        build(self.folder / "later", "--name", "localhost/sluice:test", SOURCE_DATE_EPOCH=str(int(EPOCH) + 1))
        self.assertNotEqual((self.folder / "later/digest").read_text(), (self.out / "digest").read_text())

    def test_there_is_the_program_what_it_needs_and_nothing_else(self):
        program = {"/usr/bin/sluice", "/usr/local/bin/kube-proxy", "/usr/sbin/ipvsadm", "/usr/sbin/ipvsadm-save", "/usr/sbin/ipvsadm-restore"}
        certificates = {"/etc/ssl/certs/ca-certificates.crt", "/usr/lib/ssl/cert.pem"}
        listed = {line.split()[1] for line in (SOURCE / "src/cli/needed_libraries.txt").read_text().splitlines() if re.match("base|beside", line)}
        files = {path: entry for path, entry in paths_of(self.bare).items() if entry[0][0] != "d"}
        for path in sorted(program | certificates):
            self.assertIn(path, files)
            files.pop(path)
        for path, (mode, _, package, target) in list(files.items()):
            if path in ("/bin", "/lib", "/lib64", "/sbin", "/lib32"):
                self.assertEqual(target, "usr" + path)
            elif path.startswith("/usr/share/doc/"):
                self.assertRegex(path, r"^/usr/share/doc/[a-z0-9.+-]+/copyright$")
            else:
                self.assertIn(os.path.basename(path), listed, "a file that the program does not need")
                self.assertNotEqual(package, "sluice", f"{path} is of no package")
                self.assertEqual(mode[0], "-", path)
        for path, (mode, *_) in paths_of(self.out).items():
            self.assertNotRegex(os.path.basename(path), r"^(sh|bash|dash|busybox|apt.*|dpkg.*)$")
            self.assertNotRegex(mode, r"^-[4-7]", f"{path} has a set-user-ID bit or its like")

    def test_iptables_is_there_or_left_out_with_what_it_needs(self):
        of = {path for path in paths_of(self.out) if "tables" in path or "/xtables/" in path}
        for path in ("/usr/sbin/iptables-nft-restore", "/usr/sbin/ip6tables-legacy-save", "/usr/sbin/iptables"):
            self.assertIn(path, of)
        self.assertTrue(any(path.endswith("/libxt_comment.so") for path in of))
        self.assertFalse([path for path in paths_of(self.bare) if "tables" in path or "ip4tc" in path])
        self.assertLess(sum(size for _, size, *_ in paths_of(self.bare).values()), 25 * 2**20)

    def test_every_package_comes_with_its_terms_and_stands_in_the_bill(self):
        for out in (self.out, self.bare):
            bill = json.loads((out / "sluice.spdx.json").read_text())
            named = {package["name"]: package for package in bill["packages"]}
            for path, (mode, _, package, _) in paths_of(out).items():
                if package != "-":
                    self.assertIn(f"/usr/share/doc/{package}/copyright", paths_of(out))
                    self.assertIn(package, named)
            self.assertEqual({entry["fileName"] for entry in bill["files"]}, {path for path, entry in paths_of(out).items() if entry[0][0] == "-"})
            for name in ("libssl-dev", "libyaml-cpp-dev", "libfmt-dev"):  # in the program itself
                self.assertIn(name, named)
            self.assertNotIn("libgtest-dev", named)
            root = self.folder / f"bill of {out.name}"
            unpack(out, root)
            for entry in bill["files"]:
                content = (root / entry["fileName"].lstrip("/")).read_bytes()
                self.assertEqual([each["checksumValue"] for each in entry["checksums"]], [hashlib.sha1(content).hexdigest(), hashlib.sha256(content).hexdigest()])
            identifiers = [each["SPDXID"] for each in bill["packages"] + bill["files"]] + ["SPDXRef-DOCUMENT"]
            self.assertEqual(len(identifiers), len(set(identifiers)))
            for relation in bill["relationships"]:
                self.assertLessEqual({relation["spdxElementId"], relation["relatedSpdxElement"]}, set(identifiers))
            self.assertEqual(named[json.loads((out / "oci/manifest.json").read_text())[0]["RepoTags"][0]]["versionInfo"], (out / "digest").read_text().strip())

    def test_sizes_are_printed_and_labels_are_set(self):
        self.assertRegex(self.summary, r"MiB  unpacked, with iptables")
        self.assertIn("MiB  iptables ", self.summary)
        self.assertIn((self.out / "digest").read_text().strip(), self.summary)
        config = json.loads(blob(self.out, manifest_of(self.out)["config"]["digest"]))
        machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)
        self.assertEqual((config["os"], config["architecture"]), ("linux", machine))
        labels = config["config"]["Labels"]
        for name in ("title", "description", "version", "created", "licenses"):
            self.assertTrue(labels[f"org.opencontainers.image.{name}"])
        self.assertEqual(labels["org.opencontainers.image.revision"], REVISION)
        self.assertEqual(labels["org.opencontainers.image.created"], "2023-11-14T22:13:20Z")

    def test_the_program_is_stripped_and_its_debug_information_fits(self):
        root = self.folder / "stripped"
        unpack(self.bare, root)
        program = root / "usr/bin/sluice"
        sections = run("readelf", "-S", "-W", program).stdout
        self.assertNotIn(".debug_info", sections)
        self.assertNotIn(".symtab", sections)
        self.assertIn(".debug_info", run("readelf", "-S", "-W", self.bare / "sluice.debug").stdout)
        # The same program, linked in another folder with debug information of that folder, has the same bytes.
        for name in ("one", "two"):
            (self.folder / name).mkdir()
            (self.folder / name / "main.c").write_text("int main(void) { return 0; }\n")
            run("gcc", "-g", "main.c", "-o", "main", cwd=self.folder / name)
        linked = [(self.folder / name / "main").read_bytes() for name in ("one", "two")]
        self.assertNotEqual(*linked)
        for name in ("one", "two"):
            run(SOURCE / "tools/split_debug.py", "objcopy", "strip", self.folder / name / "main")
        self.assertEqual(*((self.folder / name / "main").read_bytes() for name in ("one", "two")))
        build_id = re.compile(r"Build ID: (\w+)")
        self.assertEqual(*(build_id.search(run("readelf", "-n", path).stdout).group(1) for path in (program, self.bare / "sluice.debug")))
        # No name of a folder of the machine that it was built on.
        self.assertNotIn(str(SOURCE).encode(), program.read_bytes())

    def test_a_folder_that_is_no_release_build_and_a_name_that_is_none_are_refused(self):
        for options, words in ((["--build", self.folder], "is no folder of a release build"), (["--name", "Sluice"], "--name must be NAME:TAG"),
                               (["--name", "a:b c"], "--name must be NAME:TAG")):
            done = run(SOURCE / "tools/image/build.py", "--build", BUILD, "--out", self.folder / "refused", *options, check=False)
            self.assertNotEqual(done.returncode, 0)
            self.assertIn(words, done.stderr)
        done = run(SOURCE / "tools/image/build.py", "--build", BUILD, "--out", self.folder / "refused", check=False, env=os.environ | {"SOURCE_DATE_EPOCH": "now"})
        self.assertIn("SOURCE_DATE_EPOCH is no number", done.stderr)
        self.assertFalse((self.folder / "refused").exists())


class LoadTest(unittest.TestCase):
    """The programs that people load images with, each in folders of its own."""

    @classmethod
    def setUpClass(cls):
        temporary = tempfile.TemporaryDirectory(prefix="sluice-image-load-")
        cls.addClassCleanup(temporary.cleanup)
        cls.folder, cls.out, cls.digest = pathlib.Path(temporary.name), Images.whole, Images.digest

    def test_skopeo(self):
        policy = self.folder / "policy.json"
        policy.write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
        for source in (f"oci:{self.out}/oci:test", f"oci-archive:{self.out}/sluice.tar:test", f"docker-archive:{self.out}/sluice.tar:localhost/sluice:test"):
            with self.subTest(source):
                target = self.folder / source.split(":")[0]
                run("skopeo", "--policy", policy, "copy", source, f"dir:{target}")
                inspected = json.loads(run("skopeo", "inspect", f"dir:{target}").stdout)
                self.assertEqual(inspected["Labels"]["org.opencontainers.image.title"], "sluice")
                if source.startswith("oci"):
                    self.assertEqual(inspected["Digest"], self.digest)

    def test_podman(self):
        podman = ["podman", "--root", self.folder / "podman", "--runroot", self.folder / "podman-run", "--storage-driver", "vfs"]
        loaded = run(*podman, "load", "-i", self.out / "sluice.tar").stdout
        self.assertIn("localhost/sluice:test", loaded)
        self.assertIn('"/usr/local/bin/kube-proxy"', run(*podman, "inspect", "--type", "image", "localhost/sluice:test").stdout)

    def test_containerd(self):
        containerd = Containerd(self.folder / "containerd")
        self.addCleanup(containerd.close)
        containerd.ctr("images", "import", self.out / "sluice.tar")
        self.assertRegex(containerd.ctr("images", "list").stdout, rf"localhost/sluice:test\s+\S+\s+{self.digest}")


class ServeTest(unittest.TestCase):
    """In a container from the image, with what the DaemonSet grants and no more."""

    @classmethod
    def setUpClass(cls):
        temporary = tempfile.TemporaryDirectory(prefix="sluice-image-run-")
        cls.addClassCleanup(temporary.cleanup)
        cls.folder = pathlib.Path(temporary.name)
        cls.containerd = Containerd(cls.folder / "containerd")
        cls.addClassCleanup(cls.containerd.close)
        for out in (Images.whole, Images.bare):
            cls.containerd.ctr("images", "import", out / "sluice.tar")

    def setUp(self):
        self.netns = f"sluice-image-{os.getpid()}"
        run("ip", "netns", "add", self.netns)
        self.addCleanup(run, "ip", "netns", "delete", self.netns)
        for words in ("link set lo up", "link add net0 type bridge", "link set net0 up", "addr add 192.0.2.1/24 dev net0", "route add 10.96.0.0/12 dev net0"):
            run("ip", "-n", self.netns, *words.split())
        pod = subprocess.Popen(["ip", "netns", "exec", self.netns, sys.executable, "-m", "http.server", "8080", "--bind", "192.0.2.1",
                                "--directory", SOURCE / "examples/serve-a-folder/site"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.addCleanup(pod.wait)
        self.addCleanup(pod.kill)
        self.state = self.folder / f"state-{self.id()}"
        self.state.mkdir()
        (self.state / "xtables.lock").touch()
        (self.state / "sluice").mkdir()

    def start(self, image, *command, context=None):
        name = f"c{time.monotonic_ns()}"
        log = self.state / f"{name}.log"
        mounts = [(self.state / "sluice", "/run/sluice", False), (self.state / "xtables.lock", "/run/xtables.lock", False),
                  (SOURCE / "examples/serve-a-folder/manifests", "/manifests", True)]
        container = self.containerd.start(f"localhost/sluice:{image}", name, command, netns=self.netns, mounts=mounts, log=log,
                                          context=context or CONTEXT)

        def end():
            if container.poll() is None:
                self.containerd.kill(name, "SIGKILL")
                container.wait(PATIENCE)
        self.addCleanup(end)
        return container, log

    def asked(self):
        done = run("ip", "netns", "exec", self.netns, "curl", "--silent", "--max-time", "2", "http://10.96.0.80/hello.txt", check=False)
        return done.stdout if done.returncode == 0 else ""

    def test_it_serves_in_mode_iptables_by_the_iptables_of_the_image(self):
        container, log = self.start("test", "/usr/local/bin/kube-proxy", "--manifests=/manifests", "--hostname-override=node-a")
        wait_for(lambda: f"the Service answers; the log:\n{log.read_text()}", self.asked)
        self.assertEqual(self.asked(), (SOURCE / "examples/serve-a-folder/site/hello.txt").read_text())
        self.assertIn("KUBE-SVC-", run("ip", "netns", "exec", self.netns, "iptables-save", "-t", "nat").stdout)
        # What the proxy writes, another container from the same image removes.
        cleanup, log = self.start("test", "/usr/bin/sluice", "cleanup")
        self.assertEqual(cleanup.wait(PATIENCE), 0, log.read_text())
        del container

    def test_without_iptables_mode_iptables_says_what_is_missing(self):
        container, log = self.start("bare", "/usr/local/bin/kube-proxy", "--manifests=/manifests", "--hostname-override=node-a")
        self.assertNotEqual(container.wait(PATIENCE), 0)
        self.assertIn("iptables", log.read_text())

    def test_every_name_of_the_program_starts_it(self):
        # ipvsadm says no more where the kernel has no ip_vs, as the original.
        for words, expected in ((("/usr/bin/sluice", "version"), "sluice "), (("/usr/local/bin/kube-proxy", "--version"), "sluice "),
                                (("/usr/sbin/ipvsadm", "--help"), "ipvsadm v1.31|Can't initialize ipvs")):
            container, log = self.start("bare", *words)
            container.wait(PATIENCE)
            self.assertRegex(log.read_text(), expected)


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[2:]], verbosity=2)
