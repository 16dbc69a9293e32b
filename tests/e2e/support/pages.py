"""Chromium, with a person's actions and observations, for the stories of the console."""

import base64
import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Literal

from playwright.sync_api import Browser, Locator, Page, Request, expect, sync_playwright

from contracts.routes import IDEMPOTENCY_KEY
from local_stack.church import Church
from local_stack.stack import Stack

ROOT = Path(__file__).parents[3]
SCREENSHOTS = os.environ.get("SCREENSHOTS")
"""Folder for pictures of the stories' pages, for people to check; None takes none."""
AXE = ROOT / "services/webhook-gateway/node_modules/axe-core/axe.min.js"
"""axe-core, present once `make console` has run."""
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
QUIET += ["--disable-sync", "--no-first-run", "--disable-quic"]
expect.set_options(timeout=20_000)

Windows = Callable[[str], Page]
"""Opens a browser of a person of the church, by first name."""


@contextmanager
def chromium() -> Iterator[Browser]:
    """Chromium from the system's packages."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=_installed(), args=QUIET)
        yield browser
        browser.close()


@contextmanager
def with_back_cache(browser: Browser) -> Iterator[Browser]:
    """Another Chromium with the back/forward cache, which Playwright turns off."""
    ignored = ["--disable-back-forward-cache"]
    usual = browser.browser_type.launch(executable_path=_installed(), args=QUIET, ignore_default_args=ignored)
    yield usual
    usual.close()


def _installed() -> str:
    """Chromium without a window's parts, which computes a third less, or the whole one."""
    path = shutil.which("chromium-headless-shell") or shutil.which("chromium")
    assert path is not None
    return path


@contextmanager
def watched(browser: Browser, stack: Stack) -> Iterator[Page]:
    """A browser's window for a story. An error on its console, or a POST without its key, fails the story."""
    context = browser.new_context(base_url=stack.url(), locale="en-US", timezone_id="America/New_York")
    page = context.new_page()
    errors: list[str] = []
    keyless: list[str] = []

    def sent(request: Request) -> None:
        if request.method == "POST" and "/api/v1/" in request.url and IDEMPOTENCY_KEY.lower() not in request.headers:
            keyless.append(request.url)

    page.on("request", sent)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    yield page
    context.close()
    assert [error for error in errors if "Failed to load resource" not in error] == []
    assert keyless == []


def sign_in(page: Page, name: str, church: str = "Riverbend Community Church") -> None:
    """Sign in as a person of a church."""
    page.goto("/")
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("button", name=re.compile(f"^{name}.*, {church}$")).click()
    expect(page.get_by_role("heading", name="Integrations", level=1)).to_be_visible()


def approved(page: Page, church: Church, name: str) -> dict[str, Any]:
    """Wait for an undo's plan on its run's page, save it as picture `name`, and approve it; gives the ended run."""
    expect(page.get_by_role("region", name="State")).to_contain_text("Waiting for your answer")
    run_id = page.url.rsplit("/", 1)[-1]
    expect(page.get_by_role("heading", name="Should these changes be undone?")).to_be_visible()
    accessible(page)
    shot(page, name)
    page.get_by_role("button", name=re.compile("^Undo th")).press("Enter")
    expect(page.get_by_role("region", name="State")).to_contain_text("Done")
    return church.run(run_id)


def shot(page: Page, name: str) -> None:
    """Save the page light, dark and phone-wide, if `SCREENSHOTS` names a folder."""
    if SCREENSHOTS is None:
        return
    folder = ROOT / SCREENSHOTS
    folder.mkdir(exist_ok=True)
    size = page.viewport_size
    for kind in ("light", "dark"):
        page.emulate_media(color_scheme=kind)
        page.screenshot(path=folder / f"{name}-{kind}.png", full_page=True, animations="disabled")
    page.emulate_media(color_scheme="light")
    page.set_viewport_size({"width": 390, "height": 844})
    page.screenshot(path=folder / f"{name}-phone.png", full_page=True, animations="disabled")
    if size:
        page.set_viewport_size(size)


def words_are_whole(page: Page, inside: Locator, widths: Sequence[int]) -> None:
    """No word of up to 14 letters goes on in the next line, at any of these widths."""
    size = page.viewport_size
    for width in widths:
        page.set_viewport_size({"width": width, "height": 800})
        assert inside.evaluate_all(_BROKEN) == [], f"at {width} px"
    if size:
        page.set_viewport_size(size)


_BROKEN: Final = """(elements) => elements.flatMap((element) => {
  const texts = document.createTreeWalker(element, NodeFilter.SHOW_TEXT);
  const broken = [];
  while (texts.nextNode()) {
    for (const word of texts.currentNode.data.matchAll(/[A-Za-z]{1,14}/g)) {
      const range = document.createRange();
      range.setStart(texts.currentNode, word.index);
      range.setEnd(texts.currentNode, word.index + word[0].length);
      const lines = new Set([...range.getClientRects()].map((box) => Math.round(box.top)));
      if (lines.size > 1) broken.push(word[0]);
    }
  }
  return broken;
})"""


def picture(page: Page, name: str, top: Locator) -> None:
    """Save a small picture for the documents, from `top` on, if `PICTURES` names a folder: `make pictures`."""
    folder = os.environ.get("PICTURES")
    if folder is None:
        return
    size = page.viewport_size
    devtools = page.context.new_cdp_session(page)
    metrics = {"width": 1200, "height": 680, "deviceScaleFactor": 0.6, "mobile": False}
    devtools.send("Emulation.setDeviceMetricsOverride", metrics)
    top.evaluate("element => element.scrollIntoView()")
    shown = devtools.send("Page.captureScreenshot", {"format": "png"})
    (ROOT / folder / f"{name}.png").write_bytes(base64.b64decode(shown["data"]))
    devtools.send("Emulation.clearDeviceMetricsOverride")
    if size:
        page.set_viewport_size(size)


def typed(field: Locator, text: str) -> None:
    """Replace a field's text key by key, like a person: `fill` would set a value even where keys are blocked."""
    field.press("Control+a")
    field.press("Delete")
    field.press_sequentially(text)


SAID = """() => {
  window.said = [];
  const region = document.querySelector('[aria-live="polite"]');
  const keep = () => window.said.push(region.textContent);
  new MutationObserver(keep).observe(region, { childList: true, characterData: true, subtree: true });
}"""
"""Record all announcements of the live region from now on, in order."""

FINDINGS = """async (options) => {
  await Promise.all(document.getAnimations().map((one) => one.finished.catch(() => null)));
  const { violations } = await axe.run(options);
  return violations.map(({ id, nodes }) => [id, nodes.map((node) => node.html)]);
}"""
"""axe's findings on the page, once colour transitions have ended."""
OF_COLOURS: dict[str, object] = {"runOnly": {"type": "rule", "values": ["color-contrast", "link-in-text-block"]}}
"""axe's rules that a dark scheme can affect, since it changes only colours (`style/tokens.css`)."""


def tab_to(page: Page, role: Literal["button", "link", "textbox", "checkbox"], name: str) -> Locator:
    """Press Tab until the control has the focus."""
    return tab_until(page, page.get_by_role(role, name=name, exact=True))


def tab_until(page: Page, control: Locator) -> Locator:
    """Press Tab until the control has the focus."""
    expect(control).to_be_visible()
    for _ in range(60):
        if control.evaluate("element => element === document.activeElement"):
            return control
        page.keyboard.press("Tab")
    raise AssertionError(f"Tab does not come to {control}")


def accessible(page: Page) -> None:
    """Check that axe finds no fault on the page in both colour schemes; the last test reports if axe is missing."""
    if not AXE.exists():
        return
    if not page.evaluate("() => 'axe' in window"):
        page.evaluate(AXE.read_text())
    schemes: dict[Literal["light", "dark"], dict[str, object]] = {"light": {}, "dark": OF_COLOURS}
    for scheme, options in schemes.items():
        page.emulate_media(color_scheme=scheme)
        assert page.evaluate(FINDINGS, options) == [], scheme
    page.emulate_media(color_scheme="light")
