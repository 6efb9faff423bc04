#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""tools/setup/kubernetes.sh, and control-plane.sh which calls it, with each step failing, and again after that. The source is a small tarball
made here, whose `make` writes programs like that of Kubernetes; apt is real if it has nothing to fetch, and replaced otherwise."""
import io
import signal
import tarfile
import unittest

from machine import FAIL, FULL, MachineTest, PATIENCE, SLOW

SCRIPT = "tools/setup/kubernetes.sh"
TARBALL = "kubernetes_1.20.5+really1.20.2.orig.tar.gz"
STEPS = ("apt-get update", "apt-get source", "tar", "make")
NAMES = ("kube-proxy", "kube-apiserver")
MAKEFILE = """all:
\t@for target in $(WHAT); do \\
\t  mkdir -p _output/local/bin/linux/amd64 && { echo '#!/bin/sh'; echo "echo $$target"; head -c $(SIZE) /dev/zero; } >_output/local/bin/linux/amd64/$${target##*/} && \\
\t  chmod 755 _output/local/bin/linux/amd64/$${target##*/} && echo "k8s.io/kubernetes/$$target" || exit 1; \\
\tdone
"""


class Kubernetes(MachineTest):
    def setUp(self):
        super().setUp()
        self.folder = self.machine.cache / "kubernetes-1.20.2"
        self.tarball = self.machine.folder / TARBALL
        with tarfile.open(self.tarball, "w:gz") as archive:
            content = MAKEFILE.replace("$(SIZE)", "300000").encode()
            entry = tarfile.TarInfo("kubernetes/Makefile")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
        # go build ... -o PROGRAM ... PACKAGE
        self.machine.program("go", """[ "$1" = build ] || exit 0
while [ $# -gt 1 ]; do [ "$1" != -o ] || out=$2; shift; done
{ echo '#!/bin/sh'; echo "echo $1"; head -c 300000 /dev/zero; } >"$out" && chmod 755 "$out" && echo "k8s.io/kubernetes/${1#./}"
""")
        self.machine.environment["SLUICE_GO"] = str(self.machine.bin)
        self.machine.program("apt-get", f'''case " $* " in
*" update "*) ;;
*" source "*) echo "apt-get source" >>"$machine/calls"; cp "{self.tarball}" . ;;
*) echo "apt-get: unexpected: $*" >&2; exit 100 ;;
esac''')

    def assert_whole(self, result, folder=None, names=NAMES):
        folder = folder or self.folder
        output = self.assert_works(result)
        self.assertEqual(output.splitlines()[-1], str(folder / "bin"))
        for name in names:
            self.assertGreater((folder / "bin" / name).stat().st_size, 300_000)
        self.assertFalse((folder / "work").exists())
        self.assertFalse((folder / "go").exists())

    def assert_nothing_half_made(self):
        for path in (self.folder / "bin").glob("*"):
            self.assertGreater(path.stat().st_size, 300_000)
        for path in (self.folder / "source").glob("*"):
            self.assertEqual(path.read_bytes(), self.tarball.read_bytes())

    def test_an_empty_home_and_again_from_the_cache(self):
        self.assert_whole(self.machine.run(SCRIPT))
        self.machine.spoil("make", FAIL)
        self.assert_whole(self.machine.run(SCRIPT))
        self.machine.mend("make")
        self.assert_whole(self.machine.run(SCRIPT, "--with", "kubectl"), names=(*NAMES, "kubectl"))
        tests = {"e2e-network": "./test/e2e-network", "agnhost": "./test/images/agnhost", "regression-issue-74839": "./test/images/regression-issue-74839"}
        self.assert_whole(self.machine.run(SCRIPT, *(word for name in tests for word in ("--with", name))), names=(*NAMES, "kubectl", *tests))
        for name, package in tests.items():
            self.assertIn(f"echo {package}\n", (self.folder / "bin" / name).read_text(errors="replace"))
        self.assertEqual(self.machine.calls(), ["apt-get source"])  # the source was kept

    def test_without_home_or_with_a_cache_that_is_named(self):
        for number, name in enumerate(("XDG_CACHE_HOME", "SLUICE_CACHE")):
            cache = self.machine.folder / f"ca che {number}"
            folder = (cache if name == "SLUICE_CACHE" else cache / "sluice") / "kubernetes-1.20.2"
            self.assert_whole(self.machine.run(SCRIPT, HOME=None, **{name: str(cache)}), folder)
        self.assert_whole(self.machine.run(SCRIPT, SLUICE_CACHE="here"), self.machine.tree / "here/kubernetes-1.20.2")

    def test_every_step_that_fails_is_named_and_the_next_run_succeeds(self):
        for step in STEPS:
            for action, why in ((FAIL, "made to fail"), (FULL, "No space left on device")):
                with self.subTest(step):
                    self.machine.forget()
                    self.machine.spoil(step, action)
                    status, output = self.machine.run(SCRIPT)
                    self.assertNotEqual(status, 0)
                    self.assertIn(why, output)
                    self.assertIn("kubernetes.sh: failed: ", output)
                    self.assert_nothing_half_made()
                    self.machine.mend(step)
                    self.assert_whole(self.machine.run(SCRIPT))

    def test_a_mirror_that_refuses(self):
        (self.machine.bin / "apt-get").unlink()
        status, output = self.machine.run(SCRIPT)
        self.assertNotEqual(status, 0)
        self.assertIn("failed: reading Debian's source index", output)
        self.assertIn("Connection refused", output)

    def test_a_source_that_is_none_and_a_build_without_a_program(self):
        self.machine.spoil("apt-get source", "exit 0")
        self.assert_explained(self.machine.run(SCRIPT), f"has another version than {TARBALL}")
        self.machine.mend("apt-get")
        self.machine.spoil("make", "exit 0")
        self.assert_explained(self.machine.run(SCRIPT), "the build made no kube-proxy", "build.log")
        self.machine.mend("make")
        self.assert_whole(self.machine.run(SCRIPT))

    def test_killed_in_the_middle_of_each_step(self):
        for how in (signal.SIGTERM, signal.SIGKILL):
            for step in STEPS:
                with self.subTest(f"{step} {how.name}"):
                    self.machine.forget()
                    self.kill_in_the_middle(step, how, SCRIPT)
                    self.assert_nothing_half_made()
                    self.assert_whole(self.machine.run(SCRIPT))

    def test_two_at_once_make_one(self):
        self.machine.spoil("make", SLOW)
        both = [self.machine.start(SCRIPT), self.machine.start(SCRIPT)]
        for process in both:
            output = process.communicate(timeout=PATIENCE)[0]
            self.assert_whole((process.returncode, output))
        self.assertEqual([call.split(" ", 1)[0] for call in self.machine.calls()], ["apt-get", "make"])

    def test_a_full_disk(self):
        for size in ("8k", "32k", "400k"):
            with self.subTest(size):
                cache = self.machine.folder / f"disk {size}"
                run = f'SLUICE_CACHE="{cache}" {SCRIPT}'
                check = f'{run} && cd "{cache}"/kubernetes-*/bin && test "$(./kube-proxy)" = cmd/kube-proxy && test "$(./kube-apiserver)" = cmd/kube-apiserver'
                first, second = self.machine.run_on_small_disk(size, cache, run, check)
                self.assertNotEqual(first[0], 0)
                self.assertIn("No space left on device", first[1])
                self.assert_works(second)

    def test_a_program_that_is_missing_is_named(self):
        self.machine.environment["PATH"] = str(self.machine.bin)
        for name in ("bash", "dirname", "basename", "realpath", "env"):
            self.machine.program(name, 'exec "$real" "$@"')
        self.assert_explained(self.machine.run(SCRIPT), "no make", "deps.sh test")

    def test_a_control_plane_without_kubernetes_says_only_why(self):
        self.machine.spoil("make", FAIL)
        state = self.machine.folder / "a state"
        status, output = self.machine.run("test/cluster/lib/control-plane.sh", "up", state)
        self.assertNotEqual(status, 0)
        self.assertIn("kubernetes.sh: failed: compiling", output)
        self.assertNotIn("control-plane.sh: ", output)
        self.assertFalse(state.exists())

    def test_a_control_plane_says_what_is_wrong(self):
        self.assert_works(self.machine.run(SCRIPT))
        control, state = "test/cluster/lib/control-plane.sh", self.machine.folder / "a state"
        self.assert_explained(self.machine.run(control, "up", state, "--service-cidr", "10.0.0.0/99"), "'10.0.0.0/99' is no network")
        self.assert_explained(self.machine.run(control, "up", state, "--netns", "no-such-namespace"), "no-such-namespace", "failed with status 255", "called from line")
        self.machine.program("openssl", FAIL)
        self.assert_explained(self.machine.run(control, "up", state), "`openssl req -x509", "called from line")
        (self.machine.bin / "openssl").unlink()
        self.machine.program("etcd", "exit 3")
        self.assert_explained(self.machine.run(control, "up", state), "etcd ended by itself", "etcd.log")


if __name__ == "__main__":
    unittest.main(verbosity=1)
