#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every recorded session of test/golden/ipvsadm, with ours.

    20_recorded_sessions.py [--all] [NN...]

The recordings were made on another kernel. Where ours prints something else, the real ipvsadm is run too: if the kernel at hand makes it
differ from the recording, that is what ours must print. With --all the real one does every session, which proves the recordings.
"""
import pathlib
import shutil
import sys
import tempfile

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parent.parent), str(pathlib.Path(__file__).resolve().parents[2] / "golden" / "ipvsadm")]
import director  # noqa: E402
import replay  # noqa: E402

# A connection that was reset is listed for ten seconds, in which the rest of the session has to happen; one burst has to fall between two
# beats of the rate estimator, two seconds apart.
ATTEMPTS_MAX = {"47": 10, "50": 10}


def replay_with(programs, number):
    """In the calling thread's namespace."""
    environment = {"PATH": f"{programs}:{director.HERE / 'bin'}:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C", "HOME": "/root"}
    folder = tempfile.mkdtemp(dir="/run", prefix="case-")
    try:
        steps = replay.replay(number, environment, folder)
    finally:
        shutil.rmtree(folder)
    return steps


def replay_fresh(programs, number):
    """In its own lab: connections of an earlier case would be visible."""
    with director.director(traffic=True):
        return director.inside(replay_with, programs, number)


def run_one(replay_one, number, ours, real, everything):
    """(output of the real one, output of ours); nothing for the real one if it was not run."""
    for _ in range(ATTEMPTS_MAX.get(number, 1)):
        by_ours = replay_one(ours, number)
        if by_ours == replay.recorded(number):
            return (replay_one(real, number) if everything else None), by_ours
    return replay_one(real, number), by_ours


def run_all(chosen, ours, real, everything):
    def replay_inside(programs, number):
        steps = director.inside(replay_with, programs, number)
        director.inside(replay.run, replay.reset_after(steps.decode("utf-8", "replace")), {"PATH": f"{real}:/usr/sbin:/usr/bin:/sbin:/bin"})
        return steps

    with director.director():
        for number in chosen:
            if not replay.needs_traffic(number):
                yield number, *run_one(replay_inside, number, ours, real, everything)
    for number in chosen:
        if replay.needs_traffic(number):
            yield number, *run_one(replay_fresh, number, ours, real, everything)


def main():
    ours, real = director.program_folders()
    director.use_recorded_names()
    everything = "--all" in sys.argv
    chosen = [word for word in sys.argv[1:] if word != "--all"] or replay.case_numbers()
    passed, failed, proven, elsewhere = 0, [], 0, []
    for number, by_real, by_ours in run_all(chosen, ours, real, everything):
        wanted = replay.recorded(number)
        if by_real is not None:
            proof = replay.difference(wanted, by_real, f"{number} recorded", f"{number} real ipvsadm here")
            wanted = by_real
            proven += not proof
            if proof:
                elsewhere.append(number)
                print(f"{proof}\nNOTE {number} {replay.title_of(number)}: this kernel makes the real ipvsadm say something else")
        problem = replay.difference(wanted, by_ours, f"{number} wanted", f"{number} ours")
        if problem:
            failed.append(number)
            print(f"{problem}\nFAIL {number} {replay.title_of(number)}")
        passed += not problem
    print(f"recorded sessions, ours: {passed} of {len(chosen)}; failed: {' '.join(failed) or 'none'}")
    print(f"recorded sessions, the real one: {proven} as recorded; otherwise on this kernel: {' '.join(elsewhere) or 'none'}")
    return 1 if failed or not chosen else 0


if __name__ == "__main__":
    sys.exit(main())
