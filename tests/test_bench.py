"""The bench runs, so that it cannot rot. What it finds is not judged here: no figure passes or fails a test."""

import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.bench.__main__ import main
from tests.bench.rounds import Plan
from tests.bench.table import BEGIN, END

TINY = Plan(
    rounds=1,
    seconds=0.05,
    crowd=3,
    alone_turns=20,
    crowd_turns=10,
    shared_turns=30,
    short=4,
    long=40,
    length_undos=3,
    tail=20,
    attaches=2,
    rows=3,
    replies=2,
    fan_seconds=0.02,
    fans=(1, 3),
)


def test_the_bench_measures_every_row_and_leaves_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[subprocess.Popen[str]] = []

    class Recorded(subprocess.Popen[str]):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            started.append(self)

    monkeypatch.setattr(subprocess, "Popen", Recorded)
    readme, work = tmp_path / "README.md", tmp_path / "work"
    readme.write_text(f"# Before\n\n{BEGIN}\nold\n{END}\n\nAfter\n")
    work.mkdir()
    assert main(["--write", "--readme", str(readme), "--dir", str(work)], TINY) == 0
    assert len(started) == 6
    assert all(process.poll() is not None for process in started)
    assert not list(work.iterdir())
    out, err = capfd.readouterr()
    assert "round 1 of 1" in err
    assert "Traceback" not in err
    assert readme.read_text() == f"# Before\n\n{BEGIN}\n{out}{END}\n\nAfter\n"
    rows = [line.split("|")[1].strip() for line in out.splitlines() if line.startswith("|")]
    assert set(rows[2:]) == {
        "status-1",
        "undo-1",
        "status-many",
        "undo-many",
        "undo-shared",
        "undo-length",
        "attach",
        "cold",
        "sqlite-row",
        "driver",
        "first-delta",
        "delta-1",
        "delta-3",
        "delta-driver",
    }


def test_a_readme_without_a_place_for_the_table_is_an_error_at_once(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(f"# Before\n{BEGIN}\n")
    assert main(["--write", "--readme", str(readme)], TINY) == 1
    out, err = capfd.readouterr()
    assert not out
    assert err.startswith("bench: ")
    assert END in err
    assert readme.read_text() == f"# Before\n{BEGIN}\n"
