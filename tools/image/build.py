#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes the image of Sluice, without a container engine: `make image` is this, after `make build`.

    tools/image/build.py [--build DIR] [--out DIR] [--name NAME:TAG] [--revision COMMIT] [--without-iptables]

The image is made from nothing: the program, the libraries that it needs, certificates of authorities, and iptables unless it is left out. In the
folder --out (build/image) are then

    sluice.tar        the image for `ctr images import`, `podman load`, `docker load`, `skopeo copy oci-archive:...`
    oci/              the same as a folder in OCI's layout, for `skopeo copy oci:build/image/oci:TAG ...`
    digest            that of its manifest, by which a registry names it
    contents.txt      every file: mode, size, package, path
    sluice.spdx.json  what it is made of
    sluice.debug      the debug information of its program

The same sources on the same Debian packages give the same bytes. Times in the image are SOURCE_DATE_EPOCH, by default the time of the commit.
"""
import argparse
import datetime
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

import debian
import oci
import root
import sbom

SOURCE = pathlib.Path(__file__).resolve().parents[2]


def git(*words):
    """What git reports about these sources, or nothing where they are not in git."""
    done = subprocess.run(["git", "-c", f"safe.directory={SOURCE}", "-C", str(SOURCE), *words], capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else ""


def source_date():
    given = os.environ.get("SOURCE_DATE_EPOCH") or git("log", "-1", "--format=%ct")
    if not re.fullmatch(r"[0-9]+", given):
        sys.exit("build.py: no time for the image: set SOURCE_DATE_EPOCH to seconds since 1970, as these sources are not in git" if not given
                 else f"build.py: SOURCE_DATE_EPOCH is no number of seconds: {given}")
    return int(given)


def revision():
    commit = git("rev-parse", "HEAD")
    return commit + ("-dirty" if commit and git("status", "--porcelain", "--untracked-files=no") else "")


def version():
    return re.search(r"^project\(sluice VERSION (\S+)", (SOURCE / "CMakeLists.txt").read_text(), re.M).group(1)


def configuration(assembly, created, commit):
    architecture, variant = debian.ARCHITECTURES[assembly.kind]
    labels = {"title": "sluice", "description": "A Kubernetes Service proxy: a drop-in for kube-proxy", "version": version(), "created": created,
              "licenses": "Apache-2.0", "revision": commit}
    config = {
        "created": created, "architecture": architecture, "os": "linux",
        "config": {
            "Entrypoint": ["/" + root.NAMES_OF_PROGRAM[0]],
            "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
            "Labels": {f"org.opencontainers.image.{name}": value for name, value in labels.items() if value},
        },
    }
    return config | ({"variant": variant} if variant else {})


def contents(assembly):
    lines = []
    for path, entry in sorted({**assembly.base.entries, **assembly.program.entries}.items()):
        kind = {"file": "-", "link": "l", "folder": "d"}[entry.kind]
        target = f" -> {entry.target}" if entry.kind == "link" else ""
        owner = assembly.packages.describe(entry.package)["name"] if entry.package else "sluice" if entry.kind != "folder" else "-"
        lines.append(f"{kind}{entry.mode:04o} {len(entry.content):>9} {owner:<24} /{path}{target}\n")
    return "".join(lines)


def summary(assembly, name, digest, archive, linked):
    """What is printed: sizes by package, since that is what can be left out or made smaller."""
    sizes = {}
    for entry in [*assembly.base.entries.values(), *assembly.program.entries.values()]:
        if entry.kind == "file":
            package = assembly.packages.describe(entry.package) if entry.package else {"name": "sluice", "version": version()}
            sizes[package["name"], package["version"]] = sizes.get((package["name"], package["version"]), 0) + len(entry.content)
    mebibytes = lambda size: f"{size / 2**20:7.2f} MiB"  # noqa: E731
    lines = [f"{mebibytes(size)}  {package} {of}" for (package, of), size in sorted(sizes.items(), key=lambda item: -item[1])]
    architecture, variant = debian.ARCHITECTURES[assembly.kind]
    return "\n".join([
        f"{name} for linux/{architecture}{'/' + variant if variant else ''}", *lines,
        f"{mebibytes(sum(sizes.values()))}  unpacked, {'with' if assembly.with_iptables else 'without'} iptables; {mebibytes(archive.stat().st_size).strip()} as {archive.name}",
        "in the program: " + ", ".join(f"{package} {of}" for package, of in linked), digest])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default=SOURCE / "build/release", type=pathlib.Path, help="folder of a release build (build/release)")
    parser.add_argument("--out", default=SOURCE / "build/image", type=pathlib.Path, help="folder to write, replaced (build/image)")
    parser.add_argument("--name", default=f"localhost/sluice:{version()}", help="what the image is called, with a tag")
    parser.add_argument("--revision", help="the commit, for the labels; by default what git reports, with -dirty where files are changed")
    parser.add_argument("--without-iptables", action="store_true", help="leave iptables out: modes ipvs and nftables need none of it")
    options = parser.parse_args()
    if not re.fullmatch(r"[a-z0-9][a-z0-9._:/-]*:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}", options.name):
        parser.error(f"--name must be NAME:TAG, not '{options.name}'")
    if not (options.build / "sluice.debug").is_file():
        sys.exit(f"build.py: {options.build} is no folder of a release build; make build makes build/release")
    time = source_date()
    created = datetime.datetime.fromtimestamp(time, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    assembly = root.Assembly(options.build, not options.without_iptables)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=options.out.parent, prefix=".image.") as name:
        scratch, made = pathlib.Path(name), pathlib.Path(name) / "made"
        assembly.assemble(scratch / "installed")
        commit = options.revision if options.revision is not None else revision()
        layout = oci.Layout(made / "oci")
        digest = layout.image([("Debian's part", assembly.base.entries), (f"sluice {version()}", assembly.program.entries)],
                              configuration(assembly, created, commit), options.name, time)
        layout.archive(made / "sluice.tar", time)
        bill = sbom.document(assembly, options.name, version(), commit, digest, created)
        (made / "sluice.spdx.json").write_text(json.dumps(bill, indent=1) + "\n")
        (made / "contents.txt").write_text(contents(assembly))
        (made / "digest").write_text(digest + "\n")
        shutil.copy(options.build / "sluice.debug", made / "sluice.debug")
        made.chmod(0o755)
        shutil.rmtree(options.out, ignore_errors=True)
        made.rename(options.out)
    print(summary(assembly, options.name, digest, options.out / "sluice.tar", sbom.static_packages(bill)))


if __name__ == "__main__":
    sys.dont_write_bytecode = True
    try:
        main()
    except (LookupError, ValueError, OSError, subprocess.CalledProcessError) as error:
        sys.exit(f"build.py: {error}{': ' + error.stderr.strip() if getattr(error, 'stderr', None) else ''}")
