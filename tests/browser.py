"""A real Chromium without a window, and what it complains of."""

from __future__ import annotations

import shutil
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Page

PROGRAM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
MISSING = None if PROGRAM else "no Chromium here: apt-get install chromium"
ARGUMENTS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
VIOLATIONS = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) =>
  window.violations.push(`${event.violatedDirective} ${event.blockedURI}`));
"""


@dataclass
class Visit:
    """A page and all that went wrong on it."""

    page: Page
    complaints: list[str] = field(default_factory=list)
    """Errors and warnings of the console, and exceptions that nobody caught."""
    requests: list[str] = field(default_factory=list)
    """The addresses that were asked."""

    def until(self, expression: str, *, seconds: float = 60.0) -> None:
        """Wait for JavaScript to say yes. Playwright's own waiting evals: the policy forbids it."""
        deadline = time.monotonic() + seconds
        while not self.page.evaluate(expression):
            assert time.monotonic() < deadline, f"it never came to this: {expression}"
            self.page.wait_for_timeout(100)

    def violations(self) -> list[str]:
        """What the page's policy refused."""
        return list(self.page.evaluate("window.violations"))


@contextmanager
def browser() -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright  # needs a process of its own

    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=PROGRAM, args=list(ARGUMENTS))
        try:
            yield running
        finally:
            running.close()


@contextmanager
def visit(running: Browser, url: str, **options: Any) -> Iterator[Visit]:
    """A page of its own, with nothing remembered; `options` are those of a browser context."""
    with running.new_context(**options) as context:
        context.set_default_timeout(60_000)  # a busy machine is no failure
        found = Visit(context.new_page())
        found.page.add_init_script(VIOLATIONS)
        found.page.on("request", lambda request: found.requests.append(request.url))
        found.page.on("pageerror", lambda error: found.complaints.append(str(error)))
        found.page.on(
            "console",
            lambda message: (
                found.complaints.append(message.text)
                if message.type in ("error", "warning")
                else None
            ),
        )
        found.page.goto(url)
        yield found
