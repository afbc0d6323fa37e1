"""Takes docs/page-light.png and docs/page-dark.png anew: python -m tests.page_pictures"""

from __future__ import annotations

import random
import tempfile
import time
from pathlib import Path

from mlflow.tracking import MlflowClient
from PIL import Image

from tests.browser import MISSING, browser, visit
from tests.page_server import digit_png, page_server

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
        (folder / "digit.png").write_bytes(digit_png(DIGIT))
        with page_server(folder, folder / "empty.db") as server, browser() as running:
            for scheme in ("light", "dark"):
                with visit(running, server.url, color_scheme=scheme, viewport=VIEW) as found:
                    page = found.page
                    page.wait_for_selector("#predict:enabled")
                    with server.client() as client:
                        _traffic(client, seconds=SECONDS)
                    page.set_input_files("#image", str(folder / "digit.png"))
                    page.wait_for_selector(".verdict")
                    page.wait_for_timeout(1000)  # the bars have grown
                    path = DOCS / f"page-{scheme}.png"
                    page.screenshot(path=path, full_page=True)
                    Image.open(path).convert("RGB").quantize(192, dither=Image.Dither.NONE).save(
                        path, optimize=True
                    )
                    print(path, path.stat().st_size)


def _traffic(client, *, seconds: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        client.post("/predict", files={"image": digit_png(random.randrange(1000))})
        if random.random() < 0.3:
            client.post("/predict", json={"model": "moods", "text": "the film was good"})
        time.sleep(random.uniform(0, 0.1))


if __name__ == "__main__":
    main()
