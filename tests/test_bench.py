"""The bench runs, so that it cannot rot. What it finds is not judged here: no figure passes or fails a test."""

import json
import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any, Literal

import pytest

from tests.bench import plots, recorded
from tests.bench.__main__ import main
from tests.bench.figures import Figure, Line, millis
from tests.bench.plan import Plan
from tests.bench.recorded import Mode, Range
from tests.bench.report import BEGIN, END
from tests.bench.rows import rows
from tests.bench.table import markdown

TINY = Plan(
    mode="full",
    rounds=1,
    seconds=0.02,
    crowds=(1, 3, 4),
    turns_a_second=1000,
    lengths=(4, 40),
    stored=(10,),
    grown=(40, 20),
    times=2,
    fan_seconds=0.01,
    fans=(1, 2, 3),
    starts=1,
    fills=1,
    clients=3,
    imported=2,
)


def test_the_bench_measures_every_row_writes_what_it_says_and_leaves_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[subprocess.Popen[str]] = []

    class Recorded(subprocess.Popen[str]):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            started.append(self)

    monkeypatch.setattr(subprocess, "Popen", Recorded)
    readme, work, results = tmp_path / "README.md", tmp_path / "work", tmp_path / "results"
    readme.write_text(f"# Before\n\n{BEGIN}\nold\n{END}\n\nAfter\n")
    work.mkdir()
    results.mkdir()
    places = ["--readme", str(readme), "--results", str(results), "--dir", str(work)]
    assert main(["--write", "--compare", *places], TINY) == 0

    assert started
    assert all(process.poll() is not None for process in started)
    assert not list(work.iterdir())
    out, err = capfd.readouterr()
    assert "round 1 of 1" in err
    assert "Traceback" not in err
    assert "Nothing is recorded to compare with." in out

    every = {row.name for row in rows(TINY)}
    page = (results / "RESULTS.md").read_text()
    assert _first_cells(out) == _first_cells(page) == every
    written = readme.read_text()
    assert written.startswith(f"# Before\n\n{BEGIN}\n| row |")
    assert written.endswith(f"\n{END}\n\nAfter\n")
    assert _first_cells(written) == {row.name for row in rows(TINY) if any(figure.reach for figure in row.figures)}
    plotted = sorted(results.glob("*.svg"))
    assert plotted
    for plot in plotted:
        assert f"]({plot.name})" in page
        _check_svg(plot.read_text())
    kept = json.loads((results / "recorded.json").read_text())
    assert {key.partition(":")[0] for key in kept["full"]["figures"]} == every


def _first_cells(text: str) -> set[str]:
    cells = {line.split("|")[1].strip() for line in text.splitlines() if line.startswith("| ")}
    return cells - {"row", "---", "figure"}


def _check_svg(text: str) -> None:
    assert len(text) < 6000
    root = ET.fromstring(text)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert root.findtext("{*}title")
    assert root.findtext("{*}desc")


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


def test_some_rows_can_be_measured_alone(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["status-1", "driver-3", "--dir", str(tmp_path)], TINY) == 0
    assert _first_cells(capfd.readouterr().out) == {"status-1", "driver-3"}


def test_an_unknown_row_is_an_error_that_names_all_rows(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["status-2"], TINY) == 1
    said = capfd.readouterr().err
    assert "status-2" in said
    assert all(row.name in said for row in rows(TINY))


def test_every_row_has_a_name_of_its_own() -> None:
    names = [row.name for row in rows(TINY)]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("better", "now", "mark"),
    [
        ("more", [0.50, 0.52, 0.48], ""),
        ("more", [0.46, 0.46, 0.46], ""),
        ("more", [0.44, 0.44, 0.44], "within noise"),
        ("more", [0.30, 0.30, 0.60], "**worse**"),
        ("more", [0.90, 0.90, 0.90], ""),
        ("less", [0.54, 0.54, 0.54], ""),
        ("less", [0.57, 0.57, 0.57], "within noise"),
        ("less", [0.70, 0.70, 0.70], "**worse**"),
        ("less", [0.20, 0.20, 0.20], ""),
    ],
)
def test_what_lost_more_than_a_tenth_beyond_the_recorded_spread_is_marked(
    better: Literal["more", "less"], now: list[float], mark: str
) -> None:
    line = _line("undo-50", "round trips", now, better=better)
    before = Mode("", {"undo-50: round trips": Range(0.50, 0.40, 0.60)})
    (row,) = [row for row in recorded.compared([line], before).splitlines() if row.startswith("| undo-50")]
    assert row.split("|")[-2].strip() == mark


def test_a_row_without_a_ratio_is_compared_by_its_value_and_a_new_one_is_called_new() -> None:
    line = Line("import", "", Figure(name="sessions", show=millis, better="less"), [0.002], [])
    assert "+100% | **worse** |" in recorded.compared(
        [line], Mode("", {"import: sessions": Range(0.001, 0.001, 0.001)})
    )
    assert "| new |" in recorded.compared([line], Mode("", {}))


def test_recording_one_mode_leaves_the_other(tmp_path: Path) -> None:
    file = tmp_path / "recorded.json"
    recorded.record(file, "full", [_line("a", "p50", [1.0])])
    recorded.record(file, "quick", [_line("a", "p50", [2.0])])
    kept = recorded.read(file)
    assert kept["full"].figures == {"a: p50": Range(1.0, 1.0, 1.0)}
    assert kept["quick"].figures == {"a: p50": Range(2.0, 2.0, 2.0)}


def test_plots_are_well_formed_whatever_a_row_is_called() -> None:
    lines = [_line(f"<&\"{number}'>", "p50", [0.01, 3.0, 250.0]) for number in range(4)]
    _check_svg(plots.ratios(lines))
    _check_svg(plots.growth("a < b", "c & d", lines))


def test_a_row_says_so_where_the_load_driver_could_hardly_do_more() -> None:
    limit = _line("driver", "round trips", [1.5], better="more")
    line = _line("undo", "round trips", [1.0], better="more", limit=("driver", "round trips"))
    assert "the load driver could do only 1.5 times that" in markdown([line], [line, limit])
    assert "the load driver could do only" not in markdown([line], [line])


def _line(
    row: str,
    name: str,
    ratios: list[float],
    better: Literal["more", "less"] = "less",
    limit: tuple[str, str] | None = None,
) -> Line:
    figure = Figure(name=name, show=millis, better=better, target=1.0, limit=limit, size=10)
    return Line(row, "words", figure, ratios, [1.0] * len(ratios))
