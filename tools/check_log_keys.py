#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Fails when a key of a log line is not in docs/log-keys.md, or a listed one is in no log line.

usage: check_log_keys.py [ROOT]     another tree, for the test of this check
"""
import pathlib
import re
import sys

ROOT = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else __file__).resolve()
ROOT = ROOT if ROOT.is_dir() else ROOT.parent.parent
LISTED = ROOT / "docs/log-keys.md"


def argument_end(text, start):
    """The index after the parenthesis that closes the one before `start`; strings may contain parentheses."""
    depth, at = 1, start
    while depth and at < len(text):
        if text[at] == '"':
            at = re.compile(r'"(?:\\.|[^"\\])*"').match(text, at).end()
            continue
        depth += {"(": 1, ")": -1}.get(text[at], 0)
        at += 1
    return at


def used_keys():
    """Each key with a place where it is used."""
    keys = {}
    for path in sorted((ROOT / "src").rglob("*")):
        if path.suffix not in (".h", ".cc") or path.stem.endswith("_test"):
            continue
        text = path.read_text()
        for call in re.finditer(r"\bSLUICE_LOG_[A-Z]+\(", text):
            for key in re.finditer(r'\{\s*"([^"]+)",', text[call.end():argument_end(text, call.end())]):
                keys.setdefault(key.group(1), f"{path.relative_to(ROOT)}:{text.count(chr(10), 0, call.start()) + 1}")
    return keys


def main():
    listed = {key for row in re.findall(r"^\| (`.*?) \|", LISTED.read_text(), re.M) for key in re.findall(r"`([^`]+)`", row)}
    used = used_keys()
    problems = [f"{where}: key '{key}' is not in docs/log-keys.md" for key, where in sorted(used.items()) if key not in listed]
    problems += [f"docs/log-keys.md: no log line has the key '{key}'" for key in sorted(listed - used.keys())]
    print("\n".join(problems) if problems else f"{len(used)} keys, all of them listed")
    return bool(problems) or not used


if __name__ == "__main__":
    sys.exit(main())
