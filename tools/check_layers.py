#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Fails when a file under src/ includes a room that tools/layers.txt does not allow, and says which line does it."""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent


def read_law():
    law = {}
    for line in (ROOT / "tools/layers.txt").read_text().splitlines():
        line = line.split("#", 1)[0].strip()
        if line:
            room, _, uses = line.partition(":")
            law[room.strip()] = set(uses.split()) | {room.strip()}
    return law


def main():
    law = read_law()
    by_length = sorted(law, key=len, reverse=True)
    problems = []
    for path in sorted((ROOT / "src").rglob("*")):
        if path.suffix not in (".h", ".cc"):
            continue
        name = path.relative_to(ROOT / "src").as_posix()
        room = next((r for r in by_length if name.startswith(r + "/")), None)
        if room is None:
            problems.append(f"src/{name}: stands in no room of tools/layers.txt")
            continue
        for number, line in enumerate(path.read_text().splitlines(), 1):
            include = re.match(r'\s*#\s*include\s+"(?:(.*)/)?[^/"]+"', line)
            if include and include.group(1) not in law[room]:
                problems.append(f"src/{name}:{number}: room '{room}' may not include '{include.group(1)}'")
    print("\n".join(problems) if problems else "every include is allowed by tools/layers.txt")
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main())
