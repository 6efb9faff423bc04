#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Fails when a file under src/ includes a room or a library that tools/layers.txt does not allow, and names the line.

usage: check_layers.py [ROOT]     another tree, for the test of this check
"""
import pathlib
import re
import sys

ROOT = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else __file__).resolve()
ROOT = ROOT if ROOT.is_dir() else ROOT.parent.parent


def read_law():
    """What each room may include, and which rooms may include each library (a name in angle brackets)."""
    rooms, libraries = {}, {}
    for number, line in enumerate((ROOT / "tools/layers.txt").read_text().splitlines(), 1):
        rule = line.split("#", 1)[0].strip()
        name, colon, uses = rule.partition(":")
        name = name.strip()
        if colon and name.startswith("<"):
            libraries[name.strip("<>")] = set(uses.split())
        elif colon:
            rooms[name] = set(uses.split()) | {name}
        elif rule:
            sys.exit(f"tools/layers.txt:{number}: not understood: {rule}")
    return rooms, libraries


def refusal(line, room, rooms, libraries):
    include = re.match(r'\s*#\s*include\s+([<"])(.*)[>"]', line)
    if not include:
        return None
    path = include.group(2)
    if include.group(1) == "<":
        library = path if path in libraries else path.split("/", 1)[0] + "/"
        if library in libraries and room not in libraries[library]:
            return f"the library <{library}>"
    elif path.rpartition("/")[0] not in rooms[room]:
        return f"'{path.rpartition('/')[0]}'"  # empty: the include does not name its room
    return None


def main():
    rooms, libraries = read_law()
    by_length = sorted(rooms, key=len, reverse=True)
    problems = []
    for path in sorted((ROOT / "src").rglob("*")):
        if path.suffix not in (".h", ".cc"):
            continue
        name = path.relative_to(ROOT / "src").as_posix()
        room = next((r for r in by_length if name.startswith(r + "/")), None)
        if room is None:
            problems.append(f"src/{name}: is in no room of tools/layers.txt")
            continue
        for number, line in enumerate(path.read_text().splitlines(), 1):
            refused = refusal(line, room, rooms, libraries)
            if refused:
                problems.append(f"src/{name}:{number}: room '{room}' may not include {refused}")
    print("\n".join(problems) if problems else "every include is allowed by tools/layers.txt")
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main())
