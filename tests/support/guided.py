"""Frames that atheris makes up, guided by which code they reach: `python guided.py CORPUS -max_total_time=60`.

Each goes through the check of test_fuzz.py; one that fails is saved.
"""

import sys
from pathlib import Path

import atheris  # type: ignore[import-untyped, import-not-found, unused-ignore]

sys.path.insert(0, str(Path(__file__).parents[2]))
with atheris.instrument_imports(include=["backchat.frames", "backchat.commands", "backchat.errors"]):
    from backchat import frames
    from tests.promises.test_fuzz import check_frame

atheris.instrument_func(frames.decode)


def one_input(data: bytes) -> None:
    """Checks a frame."""
    check_frame(data.decode("utf-8", "ignore"))


if __name__ == "__main__":
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
