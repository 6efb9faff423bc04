#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Installs the program of a build folder into a folder of its own, and fails if it needs a shared library that
src/cli/needed_libraries.txt does not name, if one that must be beside the program is not, if the C library
must be newer than Debian 12's, or if it does not run in a root folder that contains only the base's libraries.

usage: check_libraries.py LIST BUILD-FOLDER        (as root, for chroot and a mount)"""
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

GLIBC_MAX = (2, 36)  # Debian 12's
PREFIX = "/opt/sluice"


def read_list(path):
    """{"base": {soname, ...}, "beside": {soname, ...}}"""
    allowed = {"base": set(), "beside": set()}
    for line in pathlib.Path(path).read_text().splitlines():
        if line.strip() and not line.startswith("#"):
            where, soname = line.split()[:2]
            allowed[where].add(soname)
    return allowed


def output(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def needed_by(path):
    return set(re.findall(r"\(NEEDED\).*\[(.+)\]", output("readelf", "-d", path)))


def glibc_wanted(path):
    """The newest version of the C library's symbols that the file needs."""
    return max((tuple(map(int, v.split("."))) for v in re.findall(r"GLIBC_([0-9.]+)", output("readelf", "-V", path))), default=(0,))


def problems_of(files, allowed, folder):
    for path in files:
        for soname in sorted(needed_by(path) - allowed["base"] - allowed["beside"]):
            yield f"{path.name} needs {soname}, which the list does not name"
        if glibc_wanted(path) > GLIBC_MAX:
            yield f"{path.name} needs glibc {'.'.join(map(str, glibc_wanted(path)))}"
    needed = set().union(*(needed_by(path) for path in files))
    for soname in sorted(allowed["beside"] & needed):
        if not (folder / "lib/sluice" / soname).exists():
            yield f"{soname} was not installed beside the program"
    for soname in sorted(allowed["beside"] - needed):
        yield f"{soname} is named by the list, and nothing needs it"


def copy_base(allowed, root):
    """The base's libraries in their usual places, according to ldconfig's cache."""
    places = dict(re.findall(r"^\s(\S+) \(.*x86-64.*\) => (\S+)$", output("ldconfig", "-p"), re.M))
    for soname in allowed["base"]:
        if soname in places:
            target = root / places[soname].lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(os.path.realpath(places[soname]), target)
    (root / "lib64").mkdir(exist_ok=True)  # the program interpreter's fixed place
    shutil.copy(os.path.realpath("/lib64/ld-linux-x86-64.so.2"), root / "lib64/ld-linux-x86-64.so.2")


def main():
    allowed = read_list(sys.argv[1])
    with tempfile.TemporaryDirectory() as name:
        root = pathlib.Path(name)
        subprocess.run(["cmake", "--install", sys.argv[2], "--prefix", PREFIX, "--component", "program"], check=True,
                       env=os.environ | {"DESTDIR": name}, stdout=subprocess.DEVNULL)
        folder = root / PREFIX.lstrip("/")
        beside = [path for path in (folder / "lib/sluice").iterdir() if path.is_file() and not path.is_symlink()]
        problems = list(problems_of([folder / "bin/sluice", *beside], allowed, folder))
        if os.uname().machine == "x86_64":
            copy_base(allowed, root)
            (root / "tmp").mkdir()
            (root / "proc").mkdir()
            for arguments in (["version"], ["proxy", "--write-config-to=/tmp/written"]):
                # The loader reads in /proc where the program is, to look beside it. The mount ends with its namespace.
                enter = 'mount --bind /proc "$0/proc" && exec chroot "$0" "$@"'
                done = subprocess.run(["unshare", "--mount", "sh", "-c", enter, name, PREFIX + "/bin/sluice", *arguments],
                                      capture_output=True, text=True)
                if done.returncode != 0:
                    problems.append(f"sluice {' '.join(arguments)} in a bare root: status {done.returncode}: {done.stderr.strip()}")
    print("\n".join(problems) if problems else "the installed program brings everything that a base may lack")
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main())
