"""The built book, served on this machine and seen through a browser that can reach nothing else."""

import functools
import http.server
import shutil
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, sync_playwright

ROOT = Path(__file__).parents[2]
SWITCHES = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
]

# What a reader would trip over, as data. Collected once per visit, so that every test is one plain assertion.
FACTS = """async () => {
  const demonstrations = [...document.querySelectorAll("details.demonstration")];
  const shownFolded = demonstrations.flatMap((d) => [...d.querySelectorAll("table, img, pre")]
    .filter((e) => e.checkVisibility({ contentVisibilityAuto: true })).map((e) => e.outerHTML.slice(0, 120)));
  demonstrations.forEach((d) => { d.open = true; });
  await window.MathJax?.startup?.promise;
  await document.fonts.ready;
  const article = document.querySelector("article") ?? document.body;
  const all = (selector) => [...article.querySelectorAll(selector)];
  const scrolls = (e) => e && e !== document.body
    && (["auto", "scroll"].includes(getComputedStyle(e).overflowX) || scrolls(e.parentElement));
  const hidden = (e) => e.closest("mjx-assistive-mml, .visually-hidden, .sr-only");
  const prose = article.cloneNode(true);
  prose.querySelectorAll("pre, code, script, style, mjx-container").forEach((e) => e.remove());
  return {
    theme: document.documentElement.dataset.theme,
    width: document.documentElement.scrollWidth,
    pictures: [...document.images].filter((e) => e.getClientRects().length).map((e) => ({
      source: e.getAttribute("src"), shown: e.complete && e.naturalWidth > 0, alt: e.alt, filter: getComputedStyle(e).filter,
    })),
    formulas: all("span.math, div.math").map((e) => {
      const box = e.querySelector("mjx-container")?.getBoundingClientRect();
      return { source: e.textContent.slice(0, 60), drawn: !!box && box.width > 0 && box.height > 0 };
    }),
    wideFormulas: all("div.math mjx-container").filter((e) => e.scrollWidth > e.clientWidth + 1)
      .map((e) => e.closest("div.math").id || e.textContent.slice(0, 60)),
    formulaErrors: all("mjx-merror").map((e) => e.textContent),
    prose: prose.textContent,
    stderr: all(".output.stderr, .output.traceback").map((e) => e.textContent),
    cutOff: all("*").filter((e) => e.getBoundingClientRect().right > innerWidth + 1 && !scrolls(e) && !hidden(e))
      .map((e) => e.outerHTML.slice(0, 120)),
    shownFolded,
    demonstrations: demonstrations.length,
    tables: all("table").map((e) => ({
      // what a page has as HTML of its own has a caption, and no number
      caption: (e.classList.contains("table") ? e.querySelector("caption .caption-number")
        : e.querySelector("caption"))?.textContent ?? "", numbered: e.classList.contains("table"),
      rowHeaders: e.querySelectorAll("tbody tr").length === e.querySelectorAll("tbody th[scope=row]").length,
      cut: e.closest("div").scrollWidth > e.closest("div").clientWidth + 1, name: e.id,
    })),
    captions: all("figure").map((e) => e.querySelector("figcaption .caption-number")?.textContent ?? ""),
    links: [...document.querySelectorAll("a[href]")].map((e) => e.href),
    anchors: [...document.querySelectorAll("[id]")].map((e) => e.id),
  };
}"""


@dataclass
class Visit:
    """One page as one reader met it."""

    page: str
    scheme: str
    width: int
    # console errors, failed requests, requests that would leave this machine
    troubles: list[str] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)

    def __getattr__(self, name: str) -> Any:
        return self.facts[name]


@pytest.fixture(scope="session")
def html() -> Path:
    """The built pages; building them again costs little where nothing has changed."""
    command = [sys.executable, "-m", "specfreq", "book"]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        pytest.fail(f"specfreq book failed:\n{done.stdout}", pytrace=False)
    return ROOT / "_build" / "html"


@pytest.fixture(scope="session")
def site(html: Path):
    """The address at which the book is served."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args: Any) -> None: ...

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=html))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()


@pytest.fixture(scope="session")
def browser():
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if path is None:
        pytest.fail(
            "the pages are tested in Chromium, and there is none on the PATH: apt-get install chromium",
            pytrace=False,
        )
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=SWITCHES)
        yield chromium
        chromium.close()


def _offline(browser: Browser, site: str, troubles: list[str], **options: Any) -> BrowserContext:
    """A browser without a history that reaches the book and nothing else; what goes wrong is noted in
    `troubles`.
    """
    context = browser.new_context(**options)

    def guard(route: Any) -> None:
        if route.request.url.startswith(site):
            route.continue_()
        else:
            troubles.append(f"leaves this machine: {route.request.url}")
            route.abort()

    context.route("**/*", guard)
    context.on(
        "console", lambda m: troubles.append(f"console: {m.text}") if m.type in ("error", "warning") else None
    )
    context.on("weberror", lambda e: troubles.append(f"script: {e.error}"))
    context.on("requestfailed", lambda r: troubles.append(f"failed: {r.url}"))
    context.on("response", lambda r: troubles.append(f"{r.status}: {r.url}") if r.status >= 400 else None)
    return context


@pytest.fixture(scope="session")
def visit(browser: Browser, site: str):
    """Open a page once as a given reader would, and keep what was seen."""

    @functools.cache
    def look(page: str, scheme: str = "light", width: int = 1280) -> Visit:
        seen = Visit(page, scheme, width)
        context = _offline(
            browser, site, seen.troubles, color_scheme=scheme, viewport={"width": width, "height": 900}
        )
        tab = context.new_page()
        tab.goto(f"{site}{page}.html", wait_until="networkidle")
        seen.facts = tab.evaluate(FACTS)
        context.close()
        return seen

    return look


@pytest.fixture
def newcomer(browser: Browser, site: str):
    """An empty tab, and the list of what goes wrong in it."""
    troubles: list[str] = []
    context = _offline(browser, site, troubles)
    yield context.new_page(), troubles
    context.close()
