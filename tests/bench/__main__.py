"""`python -m tests.bench`: measures, and prints a Markdown table."""

import argparse
import signal
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Final

from tests.bench import recorded, report
from tests.bench.measuring import measure
from tests.bench.plan import FULL, QUICK, Plan
from tests.bench.rows import NoSuchRow, chosen
from tests.bench.servers import ROOT, TooFewFiles, allow_files
from tests.bench.table import markdown, noise

SPARE_FILES: Final = 200
"""How many files a process has open at the most, besides the sockets of the clients: those of all servers at once, in
the driver."""


def main(arguments: list[str] | None = None, plan: Plan | None = None) -> int:
    """The command; `plan` stands in for the modes. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("rows", nargs="*", metavar="ROW", help="only these rows")
    parser.add_argument("--quick", action="store_true", help="well under a minute, for a first look")
    parser.add_argument("--write", action="store_true", help="record what is found; if not --quick, also in README.md")
    parser.add_argument("--compare", action="store_true", help="also say what is recorded, and mark what became worse")
    parser.add_argument("--dir", type=Path, help="directory on the disk to measure (default: temporary files)")
    parser.add_argument("--readme", type=Path, default=ROOT / "README.md", help=argparse.SUPPRESS)
    parser.add_argument("--results", type=Path, default=ROOT / "tests" / "bench", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.write and options.rows:
        parser.error("--write takes all rows")
    plan = plan or (QUICK if options.quick else FULL)
    try:
        rows = chosen(plan, options.rows)
        allow_files(3 * max(plan.fans) + sum(plan.crowds) * 3 + SPARE_FILES)
        if options.write:
            # Before minutes are spent.
            report.around(options.readme)
    except (NoSuchRow, TooFewFiles, report.NoMarkers, OSError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    began = time.monotonic()
    lines = measure(
        plan,
        rows,
        options.dir,
        lambda text: print(f"{time.monotonic() - began:5.1f} s  {text}", file=sys.stderr, flush=True),
    )
    print(markdown(lines, lines), noise(plan, lines), sep="\n\n")
    file = options.results / report.RECORDED
    if options.compare:
        print("", recorded.compared(lines, recorded.read(file).get(plan.mode)), sep="\n")
    if options.write:
        recorded.record(file, plan.mode, lines)
        if not options.quick:
            report.write(options.readme, options.results, plan, lines)
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
