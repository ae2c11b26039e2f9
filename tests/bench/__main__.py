"""`python -m tests.bench`: measures, and prints a Markdown table."""

import argparse
import signal
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Final

from tests.bench.rounds import FULL, QUICK, Plan, measure
from tests.bench.servers import ROOT, TooFewFiles, allow_files
from tests.bench.table import NoMarkers, around, markdown, write

SPARE_FILES: Final = 200
"""How many files a process has open at the most, besides the sockets of the clients: those of three servers at once,
in the driver."""


def main(arguments: list[str] | None = None, plan: Plan | None = None) -> int:
    """The command; `plan` stands in for the modes. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="well under a minute, for a first look")
    parser.add_argument("--write", action="store_true", help="also put the table in README.md")
    parser.add_argument("--readme", type=Path, default=ROOT / "README.md", help=argparse.SUPPRESS)
    parser.add_argument("--dir", type=Path, help="directory on the disk to measure (default: temporary files)")
    options = parser.parse_args(arguments)
    if options.write:
        # Before minutes are spent.
        try:
            around(options.readme)
        except (NoMarkers, OSError) as error:
            print(f"bench: {error}", file=sys.stderr)
            return 1
    plan = plan or (QUICK if options.quick else FULL)
    try:
        allow_files(3 * max(plan.fans) + SPARE_FILES)
    except TooFewFiles as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    began = time.monotonic()
    measured = measure(
        plan,
        options.dir,
        lambda text: print(f"{time.monotonic() - began:5.1f} s  {text}", file=sys.stderr, flush=True),
    )
    table = markdown(measured)
    print(table)
    if options.write:
        write(options.readme, table)
    return 0


def _end(number: int, frame: FrameType | None) -> None:
    """Ends as on Ctrl-C, so that the servers end too."""
    del number, frame
    raise KeyboardInterrupt


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _end)
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
