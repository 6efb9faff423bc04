#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""tools/setup/guest-kernel.sh on a machine that has never run it, with each of its steps failing, and again after that. The kernel is a small
package made here; apt, dpkg, kmod and cpio are the real ones."""
import signal
import subprocess
import unittest

from machine import COUNT, FAIL, FULL, MachineTest, PATIENCE, RELEASE, SLOW

SCRIPT = "tools/setup/guest-kernel.sh"
STEPS = ("apt-get update", "apt-get download", "dpkg-deb", "depmod", "modprobe", "cpio", "gzip")


class GuestKernel(MachineTest):
    def setUp(self):
        super().setUp()
        self.machine.make_kernel_packages()
        self.folder = self.machine.cache / f"guest-{RELEASE}"

    def assert_whole(self, result, folder=None):
        """It succeeded, printed its folder, and everything that a guest needs exists."""
        folder = folder or self.folder
        output = self.assert_works(result)
        self.assertEqual(output.splitlines()[-1], str(folder))
        self.assertGreater((folder / "vmlinuz").stat().st_size, 500_000)
        self.assertTrue((folder / f"lib/modules/{RELEASE}/modules.dep").exists())
        listed = subprocess.run(f"gzip -dc '{folder}/initrd' | cpio -t --quiet", shell=True, check=True, capture_output=True, text=True).stdout.split()
        for name in ("init", "bin/busybox", "modules", f"lib/modules/{RELEASE}/overlay.ko"):
            self.assertIn(name, listed)
        self.assertEqual(list(folder.parent.glob("guest-work.*")), [])

    def assert_nothing_visible(self):
        """What a later run would take as complete does not exist or is complete."""
        for kernel in self.machine.cache.glob("guest-[0-9]*"):
            self.assertGreater((kernel / "vmlinuz").stat().st_size, 500_000)
            self.assertTrue((kernel / f"lib/modules/{RELEASE}/modules.dep").exists())

    def test_an_empty_home_and_no_package_lists(self):
        self.assert_whole(self.machine.run(SCRIPT))
        self.machine.spoil("apt-get", FAIL)
        self.assert_whole(self.machine.run(SCRIPT))  # from the cache

    def test_without_home_or_with_a_cache_that_is_named(self):
        for number, name in enumerate(("XDG_CACHE_HOME", "SLUICE_CACHE")):
            cache = self.machine.folder / f"ca che {number}"
            folder = (cache if name == "SLUICE_CACHE" else cache / "sluice") / f"guest-{RELEASE}"
            self.assert_whole(self.machine.run(SCRIPT, HOME=None, **{name: str(cache)}), folder)

    def test_a_home_that_cannot_be_written(self):
        self.machine.home.rmdir()
        self.machine.home.write_text("no folder")
        self.assert_explained(self.machine.run(SCRIPT), "mkdir", "Not a directory")

    def test_every_step_that_fails_is_named_and_the_next_run_succeeds(self):
        for step, action, why in [(step, FAIL, "made to fail") for step in STEPS] + [("dpkg-deb", FULL, "No space left on device")]:
            with self.subTest(step):
                self.machine.spoil(step, action)
                self.assert_explained(self.machine.run(SCRIPT), step.split(" ", 1)[0], why)
                self.assert_nothing_visible()
                self.machine.mend(step)
                self.assert_whole(self.machine.run(SCRIPT))
                self.machine.forget(lists=step == "apt-get update")
        self.machine.spoil("apt-get download", FULL)
        self.assert_explained(self.machine.run(SCRIPT), "cannot get the package", "No space left on device")

    def test_sources_without_a_kernel_or_without_an_answer(self):
        (self.machine.apt / "sources.list").write_text("")
        self.assert_explained(self.machine.run(SCRIPT), "apt knows no kernel package")
        (self.machine.apt / "sources.list").write_text("deb [trusted=yes] http://127.0.0.1:1/debian bookworm main\n")
        self.assert_explained(self.machine.run(SCRIPT), "apt knows no kernel package", "Connection refused")

    def test_a_download_that_is_refused(self):
        self.assert_works(self.machine.run("apt-get", "-q", "update"))
        package = self.machine.folder / f"repo/linux-image-{RELEASE}_1_amd64.deb"
        content = package.read_bytes()
        package.unlink()
        self.assert_explained(self.machine.run(SCRIPT), f"cannot get the package linux-image-{RELEASE}")
        package.write_bytes(content[:-1] + b"x")  # not what the index promises
        self.assert_explained(self.machine.run(SCRIPT), f"cannot get the package linux-image-{RELEASE}", "Hash Sum mismatch")
        package.write_bytes(content)
        self.assert_whole(self.machine.run(SCRIPT))

    def test_lists_older_than_the_mirror(self):
        index = self.machine.folder / "repo/Packages"
        content = index.read_text()
        index.write_text(content.replace(RELEASE, "6.1.0-98-amd64"))
        self.assert_works(self.machine.run("apt-get", "-q", "update"))
        index.write_text(content)
        self.assert_whole(self.machine.run(SCRIPT))

    def test_a_newer_kernel_that_cannot_be_had_leaves_the_cached_one(self):
        self.assert_whole(self.machine.run(SCRIPT))
        index = self.machine.folder / "repo/Packages"
        index.write_text(index.read_text().replace(RELEASE, "6.1.0-100-amd64"))
        self.assert_works(self.machine.run("apt-get", "-q", "update"))
        result = self.machine.run(SCRIPT)
        self.assert_whole(result)
        self.assertIn(f"taking {RELEASE} instead", result[1])

    def test_killed_in_the_middle_of_each_step(self):
        for how, steps in ((signal.SIGTERM, STEPS), (signal.SIGKILL, ("apt-get download", "dpkg-deb", "gzip"))):
            for step in steps:
                with self.subTest(f"{step} {how.name}"):
                    self.machine.forget(lists=step == "apt-get update")
                    self.kill_in_the_middle(step, how, SCRIPT)
                    self.assert_nothing_visible()
                    self.assert_whole(self.machine.run(SCRIPT))

    def test_two_at_once_make_one(self):
        self.machine.spoil("apt-get download", SLOW)
        both = [self.machine.start(SCRIPT), self.machine.start(SCRIPT)]
        for process in both:
            output = process.communicate(timeout=PATIENCE)[0]
            self.assert_whole((process.returncode, output))
        self.assertEqual(len(self.machine.calls()), 1)

    def test_a_full_disk(self):
        for size in ("8k", "800k", "1300k"):
            with self.subTest(size):
                cache = self.machine.folder / f"disk {size}"
                run = f'SLUICE_CACHE="{cache}" {SCRIPT}'
                check = f'{run} && cd "{cache}"/guest-6* && gzip -t initrd && test -s vmlinuz && test -e lib/modules/*/modules.dep && ! test -e ../guest-work.*'
                first, second = self.machine.run_on_small_disk(size, cache, run, check)
                self.assert_explained(first, "No space left on device")
                self.assert_works(second)

    def test_the_initramfs_follows_our_init_and_is_never_half_made(self):
        self.assert_whole(self.machine.run(SCRIPT))
        init = self.machine.tree / "test/guest/init.sh"
        init.write_text(init.read_text() + "# changed\n")
        whole = (self.folder / "initrd").read_bytes()
        self.machine.spoil("gzip", FAIL)
        self.assert_explained(self.machine.run(SCRIPT), "gzip", "made to fail")
        self.assertEqual((self.folder / "initrd").read_bytes(), whole)
        self.machine.mend("gzip")
        self.machine.spoil("apt-get download", COUNT)
        self.assert_whole(self.machine.run(SCRIPT))
        self.assertIn(b"# changed", subprocess.run(["gzip", "-dc", self.folder / "initrd"], check=True, capture_output=True).stdout)
        self.assertEqual(self.machine.calls(), [])

    def test_a_program_that_is_missing_is_named(self):
        self.machine.environment["PATH"] = str(self.machine.bin)
        for name in ("bash", "dirname", "basename", "realpath", "env"):
            self.machine.program(name, 'exec "$real" "$@"')
        self.assert_explained(self.machine.run(SCRIPT), "deps.sh guest")


if __name__ == "__main__":
    unittest.main(verbosity=1)
