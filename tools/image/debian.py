# SPDX-License-Identifier: Apache-2.0
"""What this machine's Debian records about files: which package, which version, which shared library a program gets."""
import os
import pathlib
import re
import subprocess

# GOARCH and variant, as images name them, of e_machine, the class and the byte order of an ELF file.
ARCHITECTURES = {
    (62, 64, "little"): ("amd64", None), (3, 32, "little"): ("386", None), (183, 64, "little"): ("arm64", "v8"), (40, 32, "little"): ("arm", "v7"),
    (21, 64, "little"): ("ppc64le", None), (22, 64, "big"): ("s390x", None), (243, 64, "little"): ("riscv64", None), (258, 64, "little"): ("loong64", None),
}


def output(*command):
    return subprocess.run([str(word) for word in command], check=True, capture_output=True, text=True, env=os.environ | {"LC_ALL": "C.UTF-8"}).stdout


def elf_kind(path):
    """(e_machine, 32 or 64, byte order), or None where the file is none of ELF."""
    with open(path, "rb") as file:
        head = file.read(20)
    if head[:4] != b"\x7fELF":
        return None
    order = "little" if head[5] == 1 else "big"
    return int.from_bytes(head[18:20], order), 32 * head[4], order


def needed_by(path):
    return re.findall(r"\(NEEDED\).*\[(.+)\]", output("readelf", "-d", path))


def interpreter_of(path):
    """The program that loads this one, an absolute path, or None."""
    found = re.search(r"program interpreter: (\S+)\]", output("readelf", "-l", path))
    return found.group(1) if found else None


class Libraries:
    """The shared libraries that the loader would take on this machine, for files of one kind."""

    def __init__(self, kind):
        self.places = {}
        for soname, place in re.findall(r"^\s(\S+) \(.*\) => (\S+)$", output("/sbin/ldconfig", "-p"), re.M):
            if elf_kind(place) == kind:
                self.places.setdefault(soname, place)

    def closure(self, files, beside=()):
        """{soname: place} of all that the files need, and what that needs; sonames in `beside` are there already."""
        found, open_files = {}, list(files)
        while open_files:
            path = open_files.pop()
            for soname in needed_by(path):
                if soname in found or soname in beside:
                    continue
                if soname not in self.places:
                    raise LookupError(f"{path} needs {soname}, which this machine does not have")
                found[soname] = self.places[soname]
                open_files.append(self.places[soname])
        return found


class Packages:
    """Which package brought a file. dpkg lists files by the path that they were installed by, which may be that before /usr was merged."""

    def __init__(self):
        self.described = {}

    def of_files(self, paths):
        """{path: package} for all paths, absolute ones of this machine; a path that no package brought is missing."""
        asked = {}
        for path in map(str, paths):
            real = os.path.realpath(path)
            for name in {path, real, re.sub("^/usr/", "/", path), re.sub("^/usr/", "/", real)}:
                asked.setdefault(name, []).append(path)
        result, names = {}, sorted(asked)
        for start in range(0, len(names), 8000):
            done = subprocess.run(["dpkg-query", "-S", *names[start:start + 8000]], capture_output=True, text=True, env=os.environ | {"LC_ALL": "C.UTF-8"})
            for line in done.stdout.splitlines():
                package, _, path = line.partition(": ")
                if path in asked and not package.startswith("diversion by"):
                    for original in asked[path]:
                        result.setdefault(original, package.split(",")[0])
        return result

    def describe(self, package):
        """Name, version, architecture, source package, its version, home page."""
        if package not in self.described:
            fields = ("Package", "Version", "Architecture", "source:Package", "source:Version", "Homepage")
            text = output("dpkg-query", "-W", "-f", "".join(f"${{{field}}}\\n" for field in fields), package)
            self.described[package] = dict(zip(("name", "version", "architecture", "source", "source_version", "home"), text.splitlines()))
        return self.described[package]

    def copyright_of(self, package):
        path = pathlib.Path("/usr/share/doc", package.split(":")[0], "copyright")
        if not path.is_file():
            raise LookupError(f"{path} is not there: the image must name the terms under which {package} is passed on")
        return path


def release():
    """("debian", "12") of this machine."""
    text = pathlib.Path("/etc/os-release").read_text()
    return tuple(re.search(rf'^{name}="?([^"\n]*)"?$', text, re.M).group(1) for name in ("ID", "VERSION_ID"))
