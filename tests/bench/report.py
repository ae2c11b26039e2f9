"""Where the figures go: the README has those with a target, a page beside the bench has all of them and the plots."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tests.bench import plots
from tests.bench.figures import Line
from tests.bench.plan import Plan
from tests.bench.table import markdown, noise, targeted

BEGIN: Final = "<!-- bench -->"
END: Final = "<!-- /bench -->"
PAGE: Final = "RESULTS.md"
RECORDED: Final = "recorded.json"


class NoMarkers(Exception):
    """The file has no place for the table."""


def write(readme: Path, directory: Path, plan: Plan, lines: Sequence[Line]) -> None:
    """Puts the table of what has a target between the markers in the README, and writes the page and its plots to a
    directory. Raises NoMarkers."""
    before, after = around(readme)
    said = noise(plan, lines)
    short = f"{markdown(targeted(lines), lines)}\n\n{said}"
    readme.write_text(f"{before}{BEGIN}\n{short}\n{END}{after}", encoding="utf-8")
    pictures = _plots(lines)
    for name, _, picture in pictures:
        (directory / name).write_text(picture, encoding="utf-8")
    shown = "\n\n".join(f"![{words}]({name})" for name, words, _ in pictures)
    page = (
        f"# How fast\n\nWritten by `python -m tests.bench --write`.\n\n{said}\n\n{shown}\n\n{markdown(lines, lines)}\n"
    )
    (directory / PAGE).write_text(page, encoding="utf-8")


def around(file: Path) -> tuple[str, str]:
    """What stands before the markers, and behind them. Raises NoMarkers."""
    before, begin, rest = file.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise NoMarkers(f"{file} has no lines {BEGIN} and {END} to put the table between.")
    return before, after


def _plots(lines: Sequence[Line]) -> list[tuple[str, str, str]]:
    """The names of the plots, what they show, and they themselves."""
    judged = [line for line in targeted(lines) if line.figure.of == "ratio"]
    messages = _rows(lines, "undo-messages", "attach-messages", "attach-cold")
    stored = _rows(lines, "undo-stored", "attach-stored", "list-stored", "start-stored")
    return [
        ("ratios.svg", "Ratios beside their targets", plots.ratios(judged)),
        (
            "messages.svg",
            "Times on longer sessions",
            plots.growth("On longer sessions", "messages in the session", messages),
        ),
        ("stored.svg", "Times among more sessions", plots.growth("Among more sessions", "sessions stored", stored)),
    ]


def _rows(lines: Sequence[Line], *names: str) -> list[Line]:
    return [line for line in lines if line.row in names]
