"""Exhaustive forms of tests, for a given time.

    python -m local_stack.soak --minutes=30 --crashes=FILE --kinds=FILE --refreshes=FILE --storm=FILE --day=FILE
        --told=FILE... FILE...

First webhooks are sent for a tenth of the time, or `--deliveries` of them, while processes and servers are killed, and
a day of edits on both sides is told. Then a process is killed on both sides of every kind of call and commit, of which
`make test` takes a part. A quarter of the time kills it at successive instants of a run over 5,000 people, another
quarter at every instant of single syncs. The rest consists of rounds: long histories of pure functions, and told
histories, of families on the whole stack and of linked events, all drawn anew each time. With `--histories=100000`
rounds of the told ones continue past the time until that many were run. Prints each seed and every failure's output,
and continues after a failure.
"""

import argparse
import os
import random
import subprocess
import sys
import time

_EXAMPLES = 1_000
"""Examples of each property in a round."""
_AT_ONCE = int(os.environ.get("SOAK_HISTORIES", "300"))
"""Histories of a told file in a round."""
_PER_SECOND = 250
"""Webhooks of the storm."""
_SECONDS_A_KILL = 8
"""Seconds from one kill to the next."""


def tried(what: str, tests: list[str], **environment: object) -> bool:
    """Run tests and print their outcome; gives whether they passed."""
    began = time.monotonic()
    env = os.environ | {name: str(value) for name, value in environment.items()}
    command = [sys.executable, "-m", "pytest", "-q", "-s", "-p", "no:cacheprovider", *tests]
    done = subprocess.run(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    told = [line.removeprefix("tried: ") for line in done.stdout.splitlines() if line.startswith("tried: ")]
    verdict = "passed" if not done.returncode else "FAILED"
    sys.stdout.write(f"{what}: {verdict} in {time.monotonic() - began:.0f} s {'; '.join(told)}\n")
    if done.returncode:
        sys.stdout.write(f"{done.stdout}\n")
    sys.stdout.flush()
    return not done.returncode


def main() -> int:
    """Run until the time is over; 1 if a test failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, required=True, help="how long")
    parser.add_argument("--seed", type=int, default=None, help="of the first round; drawn and said if left out")
    parser.add_argument("--crashes", required=True, help="the file with the crash tests")
    parser.add_argument("--kinds", required=True, action="append", help="a file with crashes at every kind of instant")
    parser.add_argument("--refreshes", required=True, help="the file with those of syncs of one record")
    parser.add_argument("--storm", required=True, help="the file with the storm of webhooks")
    parser.add_argument("--day", required=True, help="the file with a day of edits that come back as webhooks")
    parser.add_argument("--deliveries", type=int, default=0, help="how many webhooks; by the time if left out")
    parser.add_argument(
        "--kills", type=int, default=0, help="how many kills meanwhile; one in eight seconds if left out"
    )
    parser.add_argument("--told", required=True, action="append", help="a file whose histories are told")
    parser.add_argument("--histories", type=int, default=0, help="how many of those at least")
    parser.add_argument("properties", nargs="+", metavar="FILE", help="tests of Hypothesis")
    asked = parser.parse_args()
    seed = asked.seed if asked.seed is not None else random.SystemRandom().randrange(1_000_000)
    deadline = time.monotonic() + asked.minutes * 60
    large = [asked.crashes, "-k", "large_church"]
    every = [asked.refreshes, "-k", "every_kind"]
    kinds = [[one, "-k", "every_kind or refuses"] for one in asked.kinds]
    deliveries = asked.deliveries or round(asked.minutes * 6 * _PER_SECOND)
    ended = [
        tried(
            f"storm of {deliveries:,} webhooks, seed {seed}",
            [asked.storm],
            STORM_DELIVERIES=deliveries,
            STORM_KILLS=asked.kills or max(deliveries // _PER_SECOND // _SECONDS_A_KILL, 1),
            STORM_PER_SECOND=_PER_SECOND,
            STORM_SECONDS=900 + 5 * deliveries // _PER_SECOND,
            SOAK_SEED=seed,
        ),
        tried(f"a day of edits, seed {seed}", [asked.day], SOAK_SECONDS=1, SOAK_SEED=seed),
        *(tried(f"crashes at every kind: {one[0]}", one, SOAK_SECONDS=1) for one in kinds),
        tried(f"crashes, seed {seed}", large, SOAK_SECONDS=asked.minutes * 15, SOAK_SEED=seed),
        tried(f"crashes of syncs of one, seed {seed}", every, SOAK_SECONDS=asked.minutes * 15, SOAK_SEED=seed),
    ]
    told = 0
    while (in_time := time.monotonic() < deadline) or told < asked.histories:
        if in_time:
            properties = [*asked.properties, f"--hypothesis-seed={seed}"]
            ended.append(tried(f"properties, seed {seed}", properties, SOAK_EXAMPLES=_EXAMPLES))
        ended += [
            tried(f"histories, seed {seed}: {one}", [one], SOAK_HISTORIES=_AT_ONCE, SOAK_SEED=seed)
            for one in asked.told
        ]
        told += _AT_ONCE
        seed += 1
    sys.stdout.write(f"{told:,} histories told of each told file\n")
    sys.stdout.write(f"{ended.count(True)} passed, {ended.count(False)} failed\n")
    return 0 if all(ended) else 1


if __name__ == "__main__":
    sys.exit(main())
