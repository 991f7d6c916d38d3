"""Filtered output in a real browser that takes it as JupyterLab takes trusted output: scripts run.

Skipped where there is no Chromium or no Playwright (`pip install playwright`; its own download is not
needed).
"""

from __future__ import annotations

import base64
import io
import os
import shutil
from collections.abc import Iterator
from typing import Any

import pytest
from html_attacks import ATTACKS

from isolate_magic.filtering import filter_bundle

sync_api = pytest.importorskip(
    "playwright.sync_api", reason="Playwright is not installed (pip install playwright)"
)
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="no chromium on this machine (apt-get install chromium)"
)

PAGE = "http://page.test/"
HTML = """<!doctype html><meta charset=utf-8><title>page</title><body style="font:14px sans-serif;margin:0">
<div id=host style="height:100px;background:#eef">host</div>
<div class=jp-Notebook><div id=output></div></div>"""
# what rendermime's renderHTML does with trusted HTML: innerHTML, then each script made anew so that it runs
INSERT = """html => {
  window.hit = 0;
  const output = document.getElementById('output');
  output.innerHTML = html;
  for (const script of output.querySelectorAll('script')) {
    const made = document.createElement('script');
    made.textContent = script.textContent;
    script.replaceWith(made);
  }
}"""
HARM = """() => ({
  hit: window.hit,
  covered: (document.elementFromPoint(10, 10) || {}).id !== 'host',
  clobbered: !!document.getElementById('main') || document.querySelector('[data-commandlinker-command]') !== null,
  styled: getComputedStyle(document.querySelector('.jp-Notebook')).display === 'none'
          || getComputedStyle(document.body).display === 'none',
  asks: document.querySelector('#output form, #output input, #output button, #output a[href]') !== null,
  moved: [...document.querySelectorAll('#output *')].some(e => e.getClientRects().length
          && e.getBoundingClientRect().top < 100),
})"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    flags = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking"]
    flags += ["--disable-component-update", "--disable-sync", "--no-first-run", "--disable-dev-shm-usage"]
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield started
        started.close()


class Tab:
    """A page that notes what it asks the network for."""

    def __init__(self, browser: Any) -> None:
        self.browser = browser
        self.page: Any = None
        self.asked: list[str] = []

    def fresh(self) -> None:
        """Load the page anew; in a new tab if an attack has moved the old one elsewhere."""
        try:
            if self.page is not None:
                self.page.goto(PAGE)
        except sync_api.Error:
            self.close()
        if self.page is None:
            self.page = self.browser.new_page(viewport={"width": 900, "height": 1100})
            self.page.route("**/*", self.answer)
            self.page.goto(PAGE)
        self.asked.clear()

    def close(self) -> None:
        """Close the page."""
        if self.page is not None:
            self.page.close()
            self.page = None

    def answer(self, route: Any) -> None:
        if route.request.url == PAGE:
            route.fulfill(body=HTML, content_type="text/html")
        else:
            self.asked.append(route.request.url)
            route.abort()

    def harm(self, html: str) -> dict[str, Any]:
        """Insert HTML; return what it did."""
        self.fresh()
        found: dict[str, Any] = {}
        try:
            self.page.evaluate(INSERT, html)
            self.page.evaluate("() => new Promise(done => requestAnimationFrame(() => setTimeout(done, 30)))")
            found = self.page.evaluate(HARM)
        except sync_api.Error:  # the attack has moved the page elsewhere
            found["gone"] = True
            self.close()
        found["asked"] = [url for url in self.asked if not url.startswith("data:")]
        return {key: value for key, value in found.items() if value}


@pytest.fixture
def tab(browser: Any) -> Iterator[Tab]:
    made = Tab(browser)
    yield made
    made.close()


def filtered(html: str) -> str:
    data, _ = filter_bundle({"text/html": html}, {}, "student")
    return str(data.get("text/html", ""))


def test_no_attack_does_any_harm_through_the_filter_and_most_do_without(tab: Tab) -> None:
    harmful = [attack for attack in ATTACKS if tab.harm(attack)]
    assert len(harmful) >= len(ATTACKS) * 0.6  # else the page would prove nothing; some are other browsers'
    groups = ["".join(map(filtered, ATTACKS[place : place + 8])) for place in range(0, len(ATTACKS), 8)]
    assert not [(group, harm) for group in groups if (harm := tab.harm(group))]


def test_all_attacks_at_once_do_no_harm(tab: Tab) -> None:
    assert not tab.harm(filtered("".join(ATTACKS)))


def test_a_script_in_an_svg_does_not_run(tab: Tab) -> None:
    svg = "<svg xmlns='http://www.w3.org/2000/svg'><script>parent.hit=1</script><rect width='9' height='9'/></svg>"
    assert tab.harm(svg)
    assert not tab.harm(filter_bundle({"image/svg+xml": svg}, {})[0]["text/html"])
    assert tab.page.evaluate("() => document.querySelector('#output img').complete")


def test_tables_and_figures_still_look_as_they_should(tab: Tab) -> None:
    frames = pytest.importorskip("pandas")
    plots = pytest.importorskip("matplotlib.figure", reason="matplotlib is not installed")
    pytest.importorskip("jinja2", reason="jinja2, which the Styler needs, is not installed")
    frame = frames.DataFrame({"name": ["Ada", "Grace"], "marks": [1.0, 3.5]})
    styled = frame.style.background_gradient().bar(subset=["marks"]).set_caption("Marks").set_uuid("mine")
    parts = [filtered(frame._repr_html_()), filtered(styled._repr_html_())]
    figure = plots.Figure(figsize=(4, 2))
    figure.subplots().plot([1, 3, 2], marker="o")
    for kind, mime in (("png", "image/png"), ("jpeg", "image/jpeg"), ("svg", "image/svg+xml")):
        file = io.BytesIO()
        figure.savefig(file, format=kind)
        body = file.getvalue().decode() if kind == "svg" else base64.b64encode(file.getvalue()).decode()
        parts.append(filter_bundle({mime: body, "text/plain": "<Figure>"}, {}, "student")[0]["text/html"])
    assert not tab.harm("<p></p>".join(parts))
    assert (
        tab.page.evaluate(
            "() => [...document.querySelectorAll('#output img')].map(i => i.complete && i.naturalWidth > 100)"
        )
        == [True] * 3
    )
    colour = "() => getComputedStyle(document.querySelectorAll('#output table')[1].rows[2].cells[2]).backgroundImage"
    assert "linear-gradient" in tab.page.evaluate(colour)
    if to := os.environ.get("ISOLATE_SCREENSHOT"):
        tab.page.screenshot(path=to, full_page=True)
