"""The dashboard in a separate process, and a browser that opens it.

``python -m tests.end_to_end.dashboard URL FOLDER`` takes the pictures of docs/ of a dashboard that
runs, for example that of ``make demo``.
"""

import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from latentwatch.stream.processes.child import Child
from latentwatch.stream.settings import Settings

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
PATIENCE_SECONDS = 60.0
SAYS = "the dashboard is at "


@dataclass
class Dashboard:
    """A running dashboard."""

    process: Child

    @property
    def url(self) -> str:
        """Its address, as it prints it."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline and self.process.is_running:
            for line in self.process.log.read_text().splitlines():
                if line.startswith(SAYS) and line.endswith("/"):
                    return line.removeprefix(SAYS)
            time.sleep(0.05)
        pytest.fail(f"no dashboard:\n{self.process.tail()}")

    def stop(self) -> None:
        """Stop it and check that it exits cleanly; its pages may be open."""
        self.process.terminate()
        assert self.process.wait(20) == 0, self.process.tail(4000)


@contextmanager
def running_dashboard(settings: Settings, folder: Path, *options: str) -> Iterator[Dashboard]:
    """Start one with its history in a folder; killed in the end, unless it ended before."""
    command = ["dashboard", "--port=0", f"--history={folder / 'history.sqlite'}", *options]
    child = Child.of_latentwatch(command, folder / "dashboard.log", settings.environment())
    try:
        yield Dashboard(child)
    finally:
        child.kill()


@dataclass
class Look:
    """A page in a browser, and the browser's complaints about it."""

    page: Any
    complaints: list[str] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)


@dataclass
class Browser:
    """A real browser."""

    browser: Any

    def look(
        self, url: str, *, width: int = 1280, height: int = 900, scheme: str = "light"
    ) -> Look:
        """Open a page in a new window."""
        page = self.browser.new_page(
            viewport={"width": width, "height": height}, color_scheme=scheme
        )
        found = Look(page)
        home = "/".join(url.split("/")[:3])

        def note(request: Any) -> None:
            if not request.url.startswith((home, "data:")):
                found.elsewhere.append(request.url)

        page.on("console", lambda message: found.complaints.append(message.text))
        page.on("pageerror", lambda error: found.complaints.append(str(error)))
        page.on("request", note)
        page.goto(url)
        return found


@contextmanager
def open_browser() -> Iterator[Browser]:
    """A headless Chromium."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield Browser(browser)
        browser.close()


def take_pictures(url: str, folder: Path) -> None:
    """Write dashboard.png, dashboard-alert.png (dark) and dashboard-phone.png."""
    with open_browser() as browser:
        home = browser.look(url)
        home.page.locator("#main a[id^=model-]").first.click()
        home.page.locator(".uplot canvas").nth(3).wait_for()
        model = home.page.url
        alert = home.page.locator("a[id^=alert-]").first.get_attribute("href")
        for name, address, width, height, scheme in (
            ("dashboard", model, 1280, 1000, "light"),
            ("dashboard-alert", f"{url}{alert}", 1280, 1000, "dark"),
            ("dashboard-phone", model, 390, 844, "light"),
        ):
            look = browser.look(address, width=width, height=height, scheme=scheme)
            look.page.locator(".uplot canvas").first.wait_for()
            look.page.wait_for_load_state("load")
            look.page.wait_for_timeout(1500)
            look.page.screenshot(path=folder / f"{name}.png")


if __name__ == "__main__":
    take_pictures(sys.argv[1], Path(sys.argv[2]))
