"""What axe-core, a checker of accessibility, has to say of a page."""

from typing import Any, Final

from axe_playwright_python.async_playwright import Axe  # type: ignore[import-untyped]

from tests.browser.chromium import Tab

RULES: Final = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
"""Which of its rules: those of WCAG 2.2, levels A and AA, and its own good advice."""

COMBOBOX: Final = ("aria-allowed-role", '<textarea id="message"')
"""What it is right about in vain: HTML gives a field of several lines no role but its own, and a list of what could
stand there needs this one (ARIA, "combobox"). The composer has it only as long as the list is there."""


async def accessible(tab: Tab) -> None:
    """Asserts that axe finds nothing wrong with what a page shows."""
    found = await Axe().run(tab.page, options={"runOnly": RULES, "resultTypes": ["violations"]})
    wrong = [one for one in found.response["violations"] if not _is_combobox(one)]
    assert wrong == [], "; ".join(map(_sentence, wrong))


def _is_combobox(violation: Any) -> bool:
    rule, beginning = COMBOBOX
    return violation["id"] == rule and all(node["html"].startswith(beginning) for node in violation["nodes"])


def _sentence(violation: Any) -> str:
    nodes = ", ".join(f"{node['html'][:200]} ({node['failureSummary']})" for node in violation["nodes"][:3])
    return f"{violation['id']}: {violation['help']}: {nodes}"
