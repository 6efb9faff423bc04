#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every recorded session of test/golden/ipvsadm, with ours and with the real ipvsadm.

The real one proves the recordings, which were made on another kernel. Where the kernel at hand makes it say something else, that is
what ours has to say.
"""
import os
import pathlib
import shutil
import sys
import tempfile

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parent.parent), str(pathlib.Path(__file__).resolve().parents[2] / "golden" / "ipvsadm")]
import director  # noqa: E402
import replay  # noqa: E402

# One burst has to fall between two beats of the rate estimator, two seconds apart.
ATTEMPTS_MAX = {"50": 4}


def replay_with(programs, number):
    """In the namespace that the calling thread is in."""
    environment = {"PATH": f"{programs}:{director.HERE / 'bin'}:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C", "HOME": "/root"}
    folder = tempfile.mkdtemp(dir="/run", prefix="case-")
    try:
        replay.run(replay.RESET, environment)
        steps = replay.replay(number, environment, folder)
        replay.run(replay.RESET, environment)
    finally:
        shutil.rmtree(folder)
    return steps


def replay_fresh(programs, number):
    """In a lab of its own: connections of an earlier case would be seen."""
    with director.director(traffic=True):
        return director.inside(replay_with, programs, number)


def main():
    ours, real = director.program_folders()
    director.use_recorded_names()
    chosen = sys.argv[1:] or replay.case_numbers()
    passed, failed, elsewhere = 0, [], []
    quiet = [number for number in chosen if not replay.needs_traffic(number)]
    with director.director():
        results = {number: [director.inside(replay_with, programs, number) for programs in (real, ours)] for number in quiet}
    for number in chosen:
        if number not in results:
            for _ in range(ATTEMPTS_MAX.get(number, 1)):
                results[number] = [replay_fresh(programs, number) for programs in (real, ours)]
                if results[number][0] == results[number][1] == replay.recorded(number):
                    break
    for number in chosen:
        by_real, by_ours = results[number]
        proof = replay.difference(replay.recorded(number), by_real, f"{number} recorded", f"{number} real ipvsadm here")
        problem = replay.difference(by_real, by_ours, f"{number} real ipvsadm here", f"{number} ours")
        if proof:
            elsewhere.append(number)
            print(f"{proof}\nNOTE {number} {replay.title_of(number)}: this kernel makes the real ipvsadm say something else")
        if problem:
            failed.append(number)
            print(f"{problem}\nFAIL {number} {replay.title_of(number)}")
        passed += not problem
    print(f"recorded sessions: {passed} as the real ipvsadm, {len(chosen) - len(elsewhere)} of {len(chosen)} as recorded, "
          f"{len(failed)} failed {' '.join(failed)}".rstrip())
    return 1 if failed or not chosen else 0


if __name__ == "__main__":
    os.environ.setdefault("PYTHONDONTWRITEBYTECODE", "1")
    sys.exit(main())
