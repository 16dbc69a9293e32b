"""The People page of a large church in Chromium: how long a person waits, beside an empty page."""

import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from math import ceil
from statistics import median
from typing import Final

from playwright.sync_api import Page, sync_playwright

from bench.parameters import Parameters
from bench.table import Row
from bench.work import FREE, church, sync
from local_stack.stack import Stack

Shown = Callable[[Row], None]
_LOOKS: Final = 10
_NOBODY: Final = "qqqqqq"
_ARGUMENTS: Final = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run")
_ROWS: Final = "main table tbody tr a"
_EMPTY: Final = "main h2"
_TIMES: Final = 1000
"""Milliseconds in a second."""

# Resolves at the first frame in which the selector finds an element whose text contains the needle; milliseconds since
# the document began to load, or since `mark`.
_SHOWN: Final = """([selector, needle, mark]) => new Promise((resolve, reject) => {
  const look = () => {
    const found = document.querySelector(selector);
    if (found && found.textContent.toLowerCase().includes(needle))
      resolve(performance.now() - (mark ? window.benchMark : 0));
    else if (performance.now() > 60_000) reject(new Error(`no ${selector} with ${needle}`));
    else requestAnimationFrame(look);
  };
  look();
})"""
_MARK: Final = "(kind) => addEventListener(kind, () => { window.benchMark = performance.now(); }, { capture: true })"


def console(asked: Parameters, shown: Shown) -> None:
    """Cold load, search, opening a person, Back, and a list of 10,000 rows."""
    with church(asked.people, **FREE) as (stack, admin):
        sync(admin)
        # Nobody of that name is on the first page.
        typed = next(one["first_name"].lower() for one in reversed(admin.members()) if one["first_name"])
        with _page(stack) as page:
            found = {
                "cold": _cold(page, "/people", _ROWS),
                "empty": _cold(page, f"/people?q={_NOBODY}", _EMPTY),
                "search": _search(page, typed, "main table tbody", typed),
                "search for nobody": _search(page, _NOBODY, _EMPTY, "nobody"),
                "open": _open(page),
                "back": _back(page),
                "rows": _cold(page, "/people?rows=10000", "main p[role=status]", _counted(asked.people)),
            }
    above = {
        "cold": _p95(found["cold"]) - median(found["empty"]),
        "search": _p95(found["search"]),
        "open": _p95(found["open"]),
        "back": _p95(found["back"]),
    }
    worst = max(above.values())
    told = ", ".join(f"{name} {seconds * _TIMES:.0f} ms" for name, seconds in above.items())
    shown(
        Row(
            "People page in Chromium: p95 of the slowest, above an empty page",
            f"{worst * _TIMES:.0f} ms",
            "< 300 ms",
            worst < 0.3,
            f"{asked.people:,} people, {_LOOKS} times each: {told}; the cold one less a page without rows "
            f"({median(found['empty']) * _TIMES:.0f} ms), nothing is taken off the others (a search that finds nobody "
            f"takes {median(found['search for nobody']) * _TIMES:.0f} ms)",
        )
    )
    rows = _p95(found["rows"])
    shown(
        Row(
            "People page with 10,000 rows: p95",
            f"{rows:.2f} s",
            "< 2 s",
            rows < 2,
            f"`?rows=10000` of {asked.people:,} people, {_LOOKS} times with an empty cache, until the list says so",
        )
    )


def _counted(people: int) -> str:
    """The start of what the list says once all its rows are loaded."""
    return "10,000 of" if people > 10_000 else "people"


@contextmanager
def _page(stack: Stack) -> Iterator[Page]:
    """Chromium, signed in as the church's administrator."""
    with sync_playwright() as playwright:
        path = shutil.which("chromium")
        if path is None:
            raise RuntimeError("Chromium is not installed: run `apt-get install chromium` as root first.")
        browser = playwright.chromium.launch(executable_path=path, args=_ARGUMENTS)
        page = browser.new_page(base_url=stack.url())
        page.goto("/")
        page.get_by_role("button", name="Sign in").click()
        page.get_by_role("button", name=re.compile(r"^Ada.*, Riverbend Community Church$")).click()
        page.get_by_role("heading", name="Integrations", level=1).wait_for()
        yield page
        browser.close()


def _cold(page: Page, address: str, selector: str, needle: str = "") -> list[float]:
    """Seconds from the navigation until the selector is there, each time with an empty cache."""
    devtools = page.context.new_cdp_session(page)
    took = []
    for _ in range(_LOOKS):
        devtools.send("Network.clearBrowserCache")
        page.goto(address, wait_until="commit")
        took.append(_seconds(page, selector, needle))
    devtools.detach()
    return took


def _search(page: Page, typed: str, selector: str, needle: str) -> list[float]:
    """Seconds from Enter until the selector has what was typed."""
    took = []
    for _ in range(_LOOKS):
        page.goto("/people")
        page.locator(_ROWS).first.wait_for()
        page.evaluate(_MARK, "keydown")
        page.get_by_role("searchbox").focus()
        page.keyboard.type(typed)
        page.keyboard.press("Enter")
        took.append(_seconds(page, selector, needle, mark=True))
    return took


def _open(page: Page) -> list[float]:
    """Seconds from Enter on a row until the person's page has its name."""
    took = []
    for look in range(_LOOKS):
        page.goto("/people")
        row = page.locator(_ROWS).nth(look)
        row.wait_for()
        page.evaluate(_MARK, "keydown")
        name = row.inner_text()
        row.press("Enter")
        took.append(_seconds(page, "main h1", name.lower(), mark=True))
    return took


def _back(page: Page) -> list[float]:
    """Seconds from Back on a person's page until the rows are there."""
    took = []
    for look in range(_LOOKS):
        page.goto("/people")
        row = page.locator(_ROWS).nth(look)
        row.wait_for()
        name = row.inner_text()
        row.press("Enter")
        _seconds(page, "main h1", name.lower())
        page.evaluate(_MARK, "popstate")
        page.evaluate("history.back()")
        page.wait_for_function("window.benchMark !== undefined")
        took.append(_seconds(page, _ROWS, "", mark=True))
    return took


def _seconds(page: Page, selector: str, needle: str, *, mark: bool = False) -> float:
    took: float = page.evaluate(_SHOWN, [selector, needle, mark])
    return took / _TIMES


def _p95(took: Sequence[float]) -> float:
    return sorted(took)[ceil(0.95 * len(took)) - 1]
