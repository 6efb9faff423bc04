#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Fails when docs/upstream-behaviours.md names a test, or a row of a test's table, that does not exist, or leaves out an upstream row."""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
DOCUMENT = ROOT / "docs/upstream-behaviours.md"
EXPECTED = [f"M{n}" for n in (*range(1, 29), *range(30, 39), *range(40, 50))] + [f"E{n}" for n in (2, 9, 10, *range(12, 17), *range(18, 22), 23, 25, 26, 50, 60, 61, 62, 76, 86)]


def google_tests():
    """Suite.Name -> the text of the test and of what precedes it in its file back to the previous test, where tables may be."""
    tests = {}
    for path in sorted((ROOT / "src").rglob("*_test.cc")):
        listed = (path.parent / "CMakeLists.txt").read_text()
        if path.name not in listed:
            continue
        text = path.read_text()
        starts = [(match.start(), f"{match.group(1)}.{match.group(2)}")
                  for match in re.finditer(r"^TEST(?:_F|_P)?\(\s*(\w+),\s*(\w+)\)", text, re.M)]
        previous = 0
        for (start, name), (end, _) in zip(starts, [*starts[1:], (len(text), "")]):
            tests[name] = text[previous:end]
            previous = text.find("\n}\n", start) + 1
    return tests


def strings(text):
    """All string literals, adjacent ones joined as the compiler joins them."""
    literals = re.findall(r'"(?:[^"\\]|\\.)*"(?:\s*"(?:[^"\\]|\\.)*")*', text)
    return {"".join(re.findall(r'"((?:[^"\\]|\\.)*)"', literal)) for literal in literals}


def problems_of(cell, tests):
    found = 0
    rows = None  # the literals of the last test that was named
    for token in re.finditer(r'`([^`]+)`|"([^"]+)"', cell):
        name, row = token.groups()
        if row is not None:
            if rows is None or row not in rows:
                yield f'there is no row "{row}"'
            continue
        rows = None
        if name.startswith("src/"):
            if not (ROOT / name).exists():
                yield f"there is no file {name}"
        elif name.endswith(".scn"):
            found += 1
            if not (ROOT / "test/scenario" / name).exists():
                yield f"there is no scenario {name}"
        elif re.fullmatch(r"\w+_test\.test_\w+", name):
            found += 1
            module, function = name.split(".")
            path = ROOT / f"test/cluster/{module}.py"
            if not path.exists() or f"def {function}(" not in path.read_text():
                yield f"there is no test {name}"
        else:
            found += 1
            if name not in tests:
                yield f"there is no test {name}"
            else:
                rows = strings(tests[name])
    if not found and not cell.strip().startswith("not ours:"):
        yield "names no test"


def main():
    tests = google_tests()
    seen, problems, cells = set(), [], 0
    for number, line in enumerate(DOCUMENT.read_text().splitlines(), 1):
        row = re.match(r"\| ([MIE]\d+)(?:–\w+)? \| (.*?) \| (.*) \|$", line)
        if not row:
            if re.match(r"\|\s*[MIE]\d", line):
                problems.append(f"{DOCUMENT.name}:{number}: cannot read this row")
            continue
        cells += 1
        seen.add(row.group(1))
        problems += [f"{DOCUMENT.name}:{number}: {row.group(1)}: {problem}" for problem in problems_of(row.group(3), tests)]
    problems += [f"{DOCUMENT.name}: {name} is missing" for name in EXPECTED if name not in seen]
    print("\n".join(problems) if problems else f"{cells} rows, and every test that they name exists")
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main())
