"""`python -m benchmarks [name …] [--rounds N] [--quick]`: every question or the named ones, a process each."""

from __future__ import annotations

import argparse
import importlib
import os
import subprocess
import sys

from benchmarks.harness import ROOT, Settings, record

QUESTIONS = (
    "hit",
    "query_hit",
    "footprint",
    "miss",
    "apply",
    "stampede",
    "memory",
    "correctness",
    "first_path",
    "bus",
    "fanout",
    "http_hit",
    "page",
    "commit_stale",
    "pixel",
)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help=f"one of {', '.join(QUESTIONS)}; default: all")
    parser.add_argument("--rounds", type=int, help="rounds of each comparison (default 15, with --quick 3)")
    parser.add_argument("--quick", action="store_true", help="only show that everything runs")
    given = parser.parse_args()
    unknown = [name for name in given.names if name not in QUESTIONS]
    if unknown:
        parser.error(f"no such question: {', '.join(unknown)}; there is {', '.join(QUESTIONS)}")
    settings = Settings(given.rounds or (3 if given.quick else 15), given.quick)
    if len(given.names) == 1:
        answer(given.names[0], settings)
        return 0
    options = ["--rounds", str(settings.rounds), *(["--quick"] if settings.quick else [])]
    failed = 0
    for name in given.names or QUESTIONS:
        failed += subprocess.run([sys.executable, "-m", "benchmarks", name, *options], cwd=ROOT).returncode != 0
    return 1 if failed else 0


def answer(name: str, settings: Settings) -> None:
    """Answer one question here, print it and write it down."""
    report = importlib.import_module(f"benchmarks.{name}").run(settings)
    if os.getloadavg()[0] > 1.0:
        report.notes.append(f"the machine was busy (load {os.getloadavg()[0]:.1f}): times may be noise")
    if settings.quick:
        report.notes.append("--quick: the numbers only show that it runs")
    path = record(name, report, settings)
    print(f"\n== {name} ==\n{report}\n\n→ {path.relative_to(ROOT)}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
