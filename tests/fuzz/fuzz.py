"""Fuzz the targets with atheris, which follows the branches that an input takes.

    python -m tests.fuzz.fuzz                      every target, FUZZ_SECONDS each (60)
    python -m tests.fuzz.fuzz message packets      these
    python -m tests.fuzz.fuzz --keep message       and put what is new and small into tests/corpus

What is found lies in .fuzz: a folder of inputs for each target, with which the next run goes on, and crashes. The exit
code is 1 if there were any; put the input into tests/corpus when the fault is mended.
"""

import argparse
import importlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[2]
WORK = ROOT / ".fuzz"
CORPUS = ROOT / "tests" / "corpus"
# No target of ours is asked for more at once; a message has at most 128 KiB, but what is found in large ones is found
# in small ones, a hundred times as fast.
_LONGEST = 8192
_SLOW_SECONDS = 5
_MEMORY_MIB = 1024
_KEPT = 5
_KEPT_BYTES = 512
_EXECUTED = re.compile(r"stat::number_of_executed_units: (\d+)")
_COVERED = re.compile(r"cov: (\d+) ft: (\d+)")


class Run(NamedTuple):
    """What became of one target."""

    name: str
    executions: int
    covered: int
    new: int
    crashes: list[Path]


def fuzz(name: str, seconds: int) -> Run:
    """Fuzz a target in a process of its own."""
    found, crashes = WORK / name, WORK / "crashes"
    for directory in (found, crashes):
        directory.mkdir(parents=True, exist_ok=True)
    before = set(found.iterdir())
    done = subprocess.run(
        [
            *(sys.executable, "-m", "tests.fuzz.fuzz", "--inside", name, "--"),
            *(f"-max_total_time={seconds}", f"-max_len={_LONGEST}", f"-timeout={_SLOW_SECONDS}"),
            *(f"-rss_limit_mb={_MEMORY_MIB}", f"-artifact_prefix={crashes}/{name}-", "-print_final_stats=1"),
            *(found, CORPUS / name),
        ],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    executed, covered = _EXECUTED.search(done.stdout), _COVERED.findall(done.stdout)
    faults = sorted(crashes.glob(f"{name}-*"))
    if done.returncode or executed is None:
        print(done.stdout[-6000:])
        faults = faults or [crashes]
    return Run(
        name,
        int(executed[1]) if executed else 0,
        int(covered[-1][0]) if covered else 0,
        len(set(found.iterdir()) - before),
        faults,
    )


def keep(name: str) -> int:
    """Put the smallest inputs of what was found into the repository; return how many."""
    known = {path.read_bytes() for path in (CORPUS / name).iterdir()}
    paths = sorted((WORK / name).iterdir(), key=lambda path: path.stat().st_mtime)
    small = [path for path in paths if path.stat().st_size <= _KEPT_BYTES and path.read_bytes() not in known]
    for path in small[-_KEPT:]:
        shutil.copy(path, CORPUS / name / f"found-{path.name[:12]}")
    return len(small[-_KEPT:])


def inside(name: str, arguments: list[str]) -> None:
    """Be the process that fuzzes; never returns."""
    # Only here, and not known to who checks types: it is in a group of its own, for it is not to be had everywhere.
    atheris: Any = importlib.import_module("atheris")
    with atheris.instrument_imports(include=["hostpulse"]):
        from .targets import TARGETS  # noqa: PLC0415  what is imported here is instrumented
    atheris.Setup([name, *arguments], TARGETS[name])
    atheris.Fuzz()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*")
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--inside", metavar="TARGET", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.inside:
        inside(arguments.inside, arguments.targets)
    seconds = int(os.environ.get("FUZZ_SECONDS", "60"))
    crashed = False
    print(f"{'target':12} {'executions':>11} {'branches':>9} {'new inputs':>11} {'crashes':>8}")
    for name in arguments.targets or sorted(path.name for path in CORPUS.iterdir()):
        run = fuzz(name, seconds)
        print(f"{run.name:12} {run.executions:11,} {run.covered:9,} {run.new:11,} {len(run.crashes):8,}", flush=True)
        crashed = crashed or bool(run.crashes)
        for path in run.crashes:
            print(f"  {path}")
        if arguments.keep:
            print(f"  {keep(name)} inputs put into {CORPUS / name}")
    return 1 if crashed else 0


if __name__ == "__main__":
    sys.exit(main())
