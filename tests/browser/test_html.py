"""How the page puts what the server has rendered in place (static/html.js), in a real browser."""

from typing import Final

import pytest

from tests.browser.chromium import Person, Tab
from tests.support.server import Running

pytestmark = pytest.mark.asyncio(loop_scope="package")

MORPHED: Final = """async ([steps]) => {
    const { morph, parsed } = await import(document.querySelector("[href$='/html.js']").href);
    const parent = document.createElement("div");
    document.body.append(parent);
    const kept = [];
    for (const html of steps) {
        const before = [...parent.querySelectorAll("*")];
        morph(parent, parsed(html));
        if (parent.innerHTML !== html) throw new Error(`${parent.innerHTML} instead of ${html}`);
        kept.push(before.filter((one) => parent.contains(one)).map((one) => one.localName).join(" "));
    }
    parent.remove();
    return kept;
}"""
"""Morphs from one HTML to the next, and tells which elements were kept at each step."""


async def opened(user: Person, server: Running) -> Tab:
    tab = await user.opens(server.http)
    await tab.ready()
    return tab


async def test_what_stays_the_same_stays_the_same_node(server: Running, user: Person) -> None:
    tab = await opened(user, server)
    steps = [
        ("<p>A</p>", ""),
        ("<p>A <b>bold</b></p>", "p"),
        ('<p dir="auto">A <b>bolder</b> text</p><ul><li>x</li></ul>', "p b"),
        ('<p>A <b class="k">bolder</b> text</p><ul><li>x</li><li>y</li></ul>', "p b ul li"),
        # What was a paragraph turns out to be something else; what follows is touched where it differs.
        ("<h3>A</h3><ul><li>x</li><li>y</li></ul>z", "ul li li"),
        ("z", ""),
        ("<p></p><p></p><p>one</p>", ""),
        ("<p>one</p>", "p"),
        ("", ""),
    ]
    kept = await tab.page.evaluate(MORPHED, [[html for html, _ in steps]])
    assert kept == [names for _, names in steps]


async def test_text_that_grows_keeps_the_selection_the_focus_and_how_far_it_was_scrolled(
    server: Running, user: Person
) -> None:
    tab = await opened(user, server)
    kept = await tab.page.evaluate(
        """async () => {
            const { morph, parsed } = await import(document.querySelector("[href$='/html.js']").href);
            const parent = document.createElement("div");
            parent.style.width = "200px";
            document.querySelector("[role=log]").append(parent);
            const rendered = (more) => parsed(
                `<p>one two${more}</p><div class="code"><pre tabindex="0">${"x".repeat(500)}${more}</pre></div>`);
            morph(parent, rendered(""));
            const pre = parent.querySelector("pre");
            pre.scrollLeft = 120;
            pre.focus();
            getSelection().setBaseAndExtent(parent.firstChild.firstChild, 4, parent.firstChild.firstChild, 7);
            morph(parent, rendered(" three"));
            const focused = document.activeElement === pre;
            return [parent.firstChild.textContent, String(getSelection()), pre.scrollLeft, focused];
        }"""
    )
    assert kept == ["one two three", "two", 120, True]


async def test_a_button_that_the_page_has_added_is_left_in_its_state(server: Running, user: Person) -> None:
    tab = await opened(user, server)
    left = await tab.page.evaluate(
        """async () => {
            const { morph, parsed } = await import(document.querySelector("[href$='/html.js']").href);
            const parent = document.createElement("div");
            const dressed = (text) => {
                const nodes = parsed(`<pre>${text}</pre>`);
                nodes.append(document.createElement("button"));
                return nodes;
            };
            morph(parent, dressed("a"));
            parent.lastChild.dataset.done = "true";
            morph(parent, dressed("b"));
            return parent.innerHTML;
        }"""
    )
    assert left == '<pre>b</pre><button data-done="true"></button>'


async def test_nothing_of_it_loads_or_runs_before_it_is_in_the_page(server: Running, user: Person) -> None:
    tab = await opened(user, server)
    await tab.page.evaluate(
        """async () => {
            const { parsed } = await import(document.querySelector("[href$='/html.js']").href);
            parsed(`<img src="https://elsewhere.invalid/x"><script>window.hacked = 1</script>`);
        }"""
    )
    await tab.drawn()
    assert await tab.page.evaluate("window.hacked ?? null") is None


SINKS: Final = """() => Object.entries({
    innerHTML: () => { document.createElement("div").innerHTML = "<b>"; },
    outerHTML: () => { document.body.appendChild(document.createElement("i")).outerHTML = "<b>"; },
    insertAdjacentHTML: () => document.body.insertAdjacentHTML("beforeend", "<b>"),
    write: () => document.write("<b>"),
    DOMParser: () => new DOMParser().parseFromString("<b>", "text/html"),
    srcdoc: () => { document.createElement("iframe").srcdoc = "<b>"; },
    src: () => { document.createElement("script").src = "/static/app.js"; },
    script: () => { document.createElement("script").text = "1"; },
    attribute: () => document.createElement("b").setAttribute("onclick", "1"),
    again: () => trustedTypes.createPolicy("backchat", { createHTML: (html) => html }),
    another: () => trustedTypes.createPolicy("other", { createHTML: (html) => html }),
    default: () => trustedTypes.createPolicy("default", { createHTML: (html) => html }),
}).filter(([, attempt]) => {
    try {
        attempt();
        return true;
    } catch {
        return false;
    }
}).map(([name]) => name)"""
"""Ways to make nodes or scripts of a text: the names of those that the browser lets a script go."""


async def test_nothing_else_of_the_page_can_make_nodes_or_scripts_of_a_text(server: Running, user: Person) -> None:
    tab = await opened(user, server)
    user.expected = ("This document requires 'Trusted", "Creating a TrustedTypePolicy named")
    assert await tab.page.evaluate(SINKS) == []
