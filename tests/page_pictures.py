"""Takes docs/page-light.png and docs/page-dark.png anew: python -m tests.page_pictures"""

from __future__ import annotations

import random
import tempfile
import time
from pathlib import Path

import httpx
from mlflow.tracking import MlflowClient
from PIL import Image

from tests.browser import MISSING, browser, visit
from tests.page_server import digit_png, page_server
from tests.running_server import CLIENT_SECONDS

DOCS = Path(__file__).resolve().parent.parent / "docs"
DIGIT = 1503
SECONDS = 25.0
VIEW = {"width": 1200, "height": 900}


def main() -> None:
    if MISSING is not None:
        raise SystemExit(MISSING)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        MlflowClient(f"sqlite:///{folder / 'empty.db'}").search_experiments()
        with page_server(folder, folder / "empty.db") as server:
            take_pictures(server.url, folder)


def take_pictures(url: str, folder: Path) -> None:
    """Of a server with some traffic, which answers the image of a digit."""
    (folder / "digit.png").write_bytes(digit_png(DIGIT))
    with browser() as running:
        for scheme in ("light", "dark"):
            with visit(running, url, color_scheme=scheme, viewport=VIEW) as found:
                page = found.page
                page.wait_for_selector("#predict:enabled")
                _traffic(url, seconds=SECONDS)
                page.set_input_files("#image", str(folder / "digit.png"))
                page.wait_for_selector(".verdict")
                page.wait_for_timeout(1000)  # the bars have grown
                path = DOCS / f"page-{scheme}.png"
                # Why a version is refused names folders, which are nobody's business here.
                end = page.locator(".refused").evaluate(
                    "row => Math.floor(row.getBoundingClientRect().top + scrollY)"
                )
                page.screenshot(path=path, full_page=True)
            picture = Image.open(path).convert("RGB").crop((0, 0, VIEW["width"], end))
            picture.quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)
            print(path, path.stat().st_size)


def _traffic(url: str, *, seconds: float) -> None:
    until = time.monotonic() + seconds
    with httpx.Client(base_url=url, timeout=CLIENT_SECONDS, verify=False) as client:
        while time.monotonic() < until:
            client.post("/predict", files={"image": digit_png(random.randrange(1000))})
            if random.random() < 0.3:
                client.post("/predict", json={"model": "moods", "text": "the film was good"})
            time.sleep(random.uniform(0, 0.1))


if __name__ == "__main__":
    main()
