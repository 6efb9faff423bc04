# SPDX-License-Identifier: Apache-2.0
"""A fresh machine, for the tests of the setup scripts: an empty home, an empty cache, a copy of the scripts in a path with
spaces, and apt with its own sources and no package lists. Programs can be put in front of the real ones, to fail, hang or be slow.

Nothing outside its folder is changed: what would install packages is replaced, and apt gets its folders through APT_CONFIG."""
import hashlib
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
PATIENCE = 600  # seconds, for what takes a few on a quiet machine
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
RELEASE = "6.1.0-99-amd64"
BOOT_MODULES = ("virtio_pci", "9pnet_virtio", "9p", "overlay")

# What a replaced program does: the arguments that it handles, then the action. `{}` is the machine's folder.
FAIL = 'echo "$name: made to fail" >&2; exit 7'
FULL = 'echo "$name: cannot write: No space left on device" >&2; exit 1'
HANG = 'echo $$ >"$machine/hung.new"; mv "$machine/hung.new" "$machine/hung"; exec sleep 600'
SLOW = 'echo "$name $*" >>"$machine/calls"; sleep 1; exec "$real" "$@"'
COUNT = 'echo "$name $*" >>"$machine/calls"; exec "$real" "$@"'


class Machine:
    def __init__(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="sluice setup."))
        self.home, self.tmp, self.bin, self.tree, self.apt = (self.folder / name for name in ("ho me", "t mp", "bin", "the tree", "apt"))
        for folder in (self.home, self.tmp, self.bin, self.apt / "lists/partial", self.apt / "archives/partial", self.folder / "repo"):
            folder.mkdir(parents=True)
        for name in ("tools/setup", "tools/cluster/e2e", "test/guest", "test/cluster/lib"):
            shutil.copytree(ROOT / name, self.tree / name)
        shutil.copy(ROOT / "Makefile", self.tree / "Makefile")
        self.cache = self.home / ".cache/sluice"
        (self.apt / "status").touch()
        (self.apt / "sources.list").write_text("")
        (self.apt / "apt.conf").write_text("".join(f'{name} "{value}";\n' for name, value in {
            "Dir::State": self.apt, "Dir::State::lists": self.apt / "lists", "Dir::State::status": self.apt / "status",
            "Dir::Cache": self.apt, "Dir::Etc::sourcelist": self.apt / "sources.list", "Dir::Etc::sourceparts": "-",
            "APT::Sandbox::User": "root", "Acquire::Retries::Delay": "false", "Acquire::Languages": "none"}.items()))
        self.environment = {"HOME": str(self.home), "TMPDIR": str(self.tmp), "PATH": f"{self.bin}:{SYSTEM_PATH}",
                            "APT_CONFIG": str(self.apt / "apt.conf"), "SLUICE_DEBIAN_MIRROR": "http://127.0.0.1:1/debian"}

    def remove(self):
        shutil.rmtree(self.folder)

    def program(self, name, text):
        """Puts a program in front of all others; it can use $name, $machine and $real, the one that it hides."""
        real = shutil.which(name, path=SYSTEM_PATH) or "/nonexistent"
        path = self.bin / name
        path.write_text(f'#!/bin/bash\nname={name} machine="{self.folder}" real={real}\n{text}\n')
        path.chmod(0o755)

    def spoil(self, step, action):
        """From now on the program of a step, "apt-get download" say, does ACTION; with other arguments it is the real one."""
        name, *words = step.split(" ", 1)
        match = f'case " $* " in *" {words[0]} "*) ;; *) exec "$real" "$@" ;; esac\n' if words else ""
        hidden = self.bin / name
        if hidden.exists():  # one of ours, which stays reachable
            moved = self.bin / f"{name}.real"
            if not moved.exists():
                hidden.rename(moved)
            self.program(name, match.replace('"$real"', f'"{moved}"') + action.replace('"$real"', f'"{moved}"'))
        else:
            self.program(name, match + action)

    def mend(self, step):
        name = step.split(" ", 1)[0]
        (self.bin / name).unlink()
        moved = self.bin / f"{name}.real"
        if moved.exists():
            moved.rename(self.bin / name)

    def start(self, *words, **environment):
        values = {name: value for name, value in {**self.environment, **environment}.items() if value is not None}
        return subprocess.Popen([str(word) for word in words], cwd=self.tree, env=values, start_new_session=True, stdin=subprocess.DEVNULL,
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def run(self, *words, **environment):
        """(status, output)"""
        process = self.start(*words, **environment)
        output = process.communicate(timeout=PATIENCE)[0]
        return process.returncode, output

    def forget(self, lists=True):
        """Resets: no cache and no package lists."""
        shutil.rmtree(self.cache, ignore_errors=True)
        if lists:
            shutil.rmtree(self.apt / "lists")
            (self.apt / "lists/partial").mkdir(parents=True)

    def calls(self):
        path = self.folder / "calls"
        return path.read_text().splitlines() if path.exists() else []

    def wait_until_hung(self, process):
        """The process id of the program that hangs."""
        while not (self.folder / "hung").exists():
            if process.poll() is not None:
                raise AssertionError("it ended before the step that hangs: " + process.stdout.read())
            time.sleep(0.02)
        pid = int((self.folder / "hung").read_text())
        (self.folder / "hung").unlink()
        return pid

    def run_on_small_disk(self, size, at, script, then):
        """Runs SCRIPT with a disk of SIZE at the folder AT, then with enough space on the same disk. (status, output) of both."""
        at.mkdir(parents=True, exist_ok=True)
        first, second = self.folder / "first", self.folder / "second"
        text = (f'mount -t tmpfs -o size={size} none "{at}" && {{ {script} >"{first}" 2>&1; echo $? >>"{first}"; '
                f'mount -o remount,size=256M "{at}"; {then} >"{second}" 2>&1; echo $? >>"{second}"; }}')
        status, output = self.run("unshare", "--mount", "bash", "-c", text)
        if status != 0:
            raise AssertionError(output)
        results = []
        for path in (first, second):
            lines = path.read_text().splitlines()
            results.append((int(lines[-1]), "\n".join(lines[:-1])))
        return results

    def make_kernel_packages(self):
        """A repository with Debian's two kernel packages, small ones; apt knows it once its lists are read."""
        for name, depends in (("linux-image-amd64", f"linux-image-{RELEASE}"), (f"linux-image-{RELEASE}", "")):
            root = self.folder / "package"
            (root / "DEBIAN").mkdir(parents=True)
            control = f"Package: {name}\nVersion: 1\nArchitecture: amd64\nMaintainer: nobody <nobody@example.org>\nDescription: small\n"
            (root / "DEBIAN/control").write_text(control + (f"Depends: {depends}\n" if depends else ""))
            if not depends:
                modules = root / "lib/modules" / RELEASE / "kernel"
                modules.mkdir(parents=True)
                (root / "boot").mkdir()
                (root / "boot" / f"vmlinuz-{RELEASE}").write_bytes(os.urandom(600_000))  # does not compress
                for module in BOOT_MODULES:
                    (modules / f"{module}.ko").write_bytes(b"")
            package = self.folder / "repo" / f"{name}_1_amd64.deb"
            subprocess.run(["dpkg-deb", "-Znone", "--root-owner-group", "--build", root, package], check=True, stdout=subprocess.DEVNULL)
            shutil.rmtree(root)
            digest = hashlib.sha256(package.read_bytes()).hexdigest()
            with open(self.folder / "repo/Packages", "a", encoding="utf-8") as index:
                index.write(control + (f"Depends: {depends}\n" if depends else "")
                            + f"Filename: ./{package.name}\nSize: {package.stat().st_size}\nSHA256: {digest}\n\n")
        # apt's own way to write a blank in a source.
        repository = str(self.folder / "repo").replace(" ", "%20")
        (self.apt / "sources.list").write_text(f"deb [trusted=yes] copy:{repository} ./\n")


class MachineTest(unittest.TestCase):
    def setUp(self):
        self.machine = Machine()
        self.addCleanup(self.machine.remove)

    def assert_explained(self, result, *fragments):
        """Asserts that it failed, and that its output says what and why."""
        status, output = result
        self.assertNotEqual(status, 0, output)
        for fragment in fragments:
            self.assertIn(fragment, output)
        self.assertIn("error: ", output)

    def assert_works(self, result):
        self.assertEqual(result[0], 0, result[1])
        return result[1]

    def kill_in_the_middle(self, step, how, *script, **environment):
        """Runs the script until STEP hangs, kills it and its process group. Returns its output. Nothing that it started is still running."""
        self.machine.spoil(step, HANG)
        process = self.machine.start(*script, **environment)
        hung = self.machine.wait_until_hung(process)
        os.killpg(process.pid, how)
        output = process.communicate(timeout=PATIENCE)[0]
        self.assertNotEqual(process.returncode, 0, output)
        self.machine.mend(step)
        while os.path.exists(f"/proc/{hung}"):  # ctest ends a test that waits forever
            time.sleep(0.02)
        if how != signal.SIGKILL:
            self.assertIn("SIGTERM", output)
        return output
