"""What axe-core, a checker of accessibility, has to say of a page."""

from typing import Any, Final

from axe_playwright_python.async_playwright import Axe  # type: ignore[import-untyped]

from tests.browser.chromium import Tab

RULES: Final = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
"""Which of its rules: those of WCAG 2.2, levels A and AA, and its own good advice."""


async def accessible(tab: Tab) -> None:
    """Asserts that axe finds nothing wrong with what a page shows."""
    found = await Axe().run(tab.page, options={"runOnly": RULES, "resultTypes": ["violations"]})
    assert found.response["violations"] == [], "; ".join(map(_sentence, found.response["violations"]))


def _sentence(violation: Any) -> str:
    nodes = ", ".join(f"{node['html'][:200]} ({node['failureSummary']})" for node in violation["nodes"][:3])
    return f"{violation['id']}: {violation['help']}: {nodes}"
