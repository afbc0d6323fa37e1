"""The page at / in a real browser, asking a real server."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
from axe_playwright_python.base import AXE_FILE_PATH
from PIL import Image

from tests.browser import MISSING, browser, visit
from tests.page_server import NAME, digit_label, digit_png, page_server
from tests.running_server import running_server

pytestmark = [pytest.mark.slow, pytest.mark.skipif(MISSING is not None, reason=str(MISSING))]

DIGIT = 1503
KEY = "a-key-that-may-predict"
STANDARD = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
BOXES = """elements => elements.map(element => {
  const {x, y, width, height} = element.getBoundingClientRect();
  const colour = getComputedStyle(element).backgroundColor.match(/[0-9]+/g).map(Number).slice(0, 3);
  return {x: x + scrollX, y: y + scrollY, width, height, colour};
})"""
"""Where each lies on the page, in pixels, and the colour of its ground."""
VIEWS = {
    "desktop": {"color_scheme": "light", "viewport": {"width": 1280, "height": 900}},
    "phone": {"color_scheme": "dark", "viewport": {"width": 360, "height": 740}},
}


@pytest.fixture(scope="module")
def chromium():
    with browser() as running:
        yield running


@pytest.fixture(scope="module")
def server(tmp_path_factory, empty_registry):
    with page_server(tmp_path_factory.mktemp("server"), empty_registry) as server:
        yield server


@pytest.fixture(scope="module")
def digit(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("pictures") / "it's a digit; really.png"
    path.write_bytes(digit_png(DIGIT))
    return path


@pytest.fixture
def visiting(chromium, server):
    """A visit that ends without a complaint, a breach of the policy, or a word to anybody else."""

    def visiting(**options):
        return visit(chromium, server.url, **options)

    return visiting


def check_quiet(found, server) -> None:
    assert found.complaints == []
    assert found.violations() == []
    hosts = {urlsplit(url).netloc for url in found.requests if not url.startswith("blob:")}
    assert hosts == {urlsplit(server.url).netloc}


def check_accessible(found) -> None:
    """axe finds nothing, contrast included; what moves has come to rest before."""
    page = found.page
    found.until("document.getAnimations().every(moving => moving.playState !== 'running')")
    page.evaluate(Path(AXE_FILE_PATH).read_text(encoding="utf-8") + "\n;undefined")
    result = page.evaluate("axe.run({runOnly: " + json.dumps(STANDARD) + "})")
    assert len(result["passes"]) > 20
    told = [(v["id"], [node["html"][:120] for node in v["nodes"]]) for v in result["violations"]]
    assert told == []


def check_picture(found, path, *, shares) -> None:
    """What is painted: each bar as long as its share, the first one in the accent's colour, on the
    theme's ground, and beside them the digit that was dropped.
    """
    page = found.page
    found.until("document.getAnimations().every(moving => moving.playState !== 'running')")
    page.screenshot(path=path, full_page=True)
    picture = np.asarray(Image.open(path).convert("RGB")).astype(int)
    tracks = page.locator(".bars .track").evaluate_all(BOXES)
    fills = page.locator(".bars .track i").evaluate_all(BOXES)
    for track, fill, share in zip(tracks, fills, shares, strict=True):
        row = picture[round(track["y"] + track["height"] / 2)]
        left, right = round(track["x"]) + 5, round(track["x"] + track["width"]) - 5
        painted = (row[left:right] == fill["colour"]).all(axis=1)
        if share < 0.95:  # its end is in sight
            assert (row[right] == track["colour"]).all()
        assert painted.sum() == pytest.approx(share * track["width"], abs=8)
        assert not painted[painted.sum() :].any()
    assert fills[0]["colour"] != fills[1]["colour"]
    assert (picture[2, 2] == page.locator("body").evaluate_all(BOXES)[0]["colour"]).all()
    [preview] = page.locator(".drop img").evaluate_all(BOXES)
    top, left = round(preview["y"]), round(preview["x"])
    shown = picture[top : top + round(preview["height"]), left : left + round(preview["width"])]
    assert shown.min() < 40
    assert shown.max() > 200


def predict_digit(page, path) -> None:
    page.set_input_files("#image", str(path))
    page.wait_for_selector(".verdict")


def run_shown_command(page, folder) -> dict:
    """What the page's curl command answers in a shell."""
    command = page.inner_text("#command")
    done = subprocess.run(
        ["bash", "-c", command], cwd=folder, capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    "view",
    [
        pytest.param(VIEWS["desktop"], id="desktop"),
        pytest.param(VIEWS["phone"], id="phone", marks=pytest.mark.soak),
    ],
)
def test_an_image_is_predicted_and_what_is_seen_is_what_the_server_says(
    visiting, server, digit, tmp_path, view
):
    with visiting(**view) as found:
        page = found.page
        page.wait_for_selector("#predict:enabled")
        check_accessible(found)
        page.select_option("#version", "2")
        predict_digit(page, digit)
        assert page.inner_text(".verdict strong") == digit_label(DIGIT)
        said = run_shown_command(page, digit.parent)
        assert (said["model"], said["version"]) == (NAME, "2")
        shown = page.locator(".bars li").evaluate_all(
            "rows => rows.map(row => [...row.children].slice(0, 2).map(e => e.innerText))"
        )
        assert len(shown) == 6
        page.click("text=Show all 10")
        assert page.locator(".bars li").count() == 10
        ordered = sorted(said["prediction"]["probabilities"].items(), key=lambda entry: -entry[1])
        assert [name for name, _ in shown] == [label for label, _ in ordered[:6]]
        assert float(shown[0][1].strip("<> %")) == pytest.approx(100 * ordered[0][1], abs=0.1)
        facts = page.inner_text(".facts")
        assert "fp32" in facts
        assert len(re.findall(r"[0-9] m?s", facts)) == 2, "the browser's time and the server's"
        assert "Model" in page.inner_text(".legend")
        announced = page.inner_text("#announcement")
        assert announced.startswith(f"{digit_label(DIGIT)}, ")
        check_accessible(found)
        assert page.evaluate("document.documentElement.scrollWidth") == view["viewport"]["width"]
        dark = page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(14, 16, 21)"
        assert dark == (view["color_scheme"] == "dark")
        check_picture(found, tmp_path / "page.png", shares=[share for _, share in ordered])
        check_quiet(found, server)


def test_versions_their_shares_and_why_one_is_refused_are_seen(visiting, server, client):
    with visiting() as found:
        page = found.page
        page.wait_for_selector(".refused")
        for _ in range(20):
            client.post("/predict", files={"image": digit_png(0)})
        found.until("document.querySelector('#tiles').innerText.includes('of 20 requests')")
        assert page.inner_text("#status") == "Ready"
        rows = page.locator("#models tbody tr").evaluate_all(
            "rows => rows.map(row => [...row.cells].map(cell => cell.innerText))"
        )
        shares = {row[0].split()[0]: row[1] for row in rows if len(row) == 5}
        assert (shares["1"], shares["2"]) == ("70 %", "30 %")
        reason = client.post("/v2/repository/index").json()[-1]["reason"]
        assert "bytes" in reason
        assert page.inner_text(".refused td") == reason
        page.click("#pause")
        assert page.inner_text("#pulse").startswith("Paused at ")
        page.wait_for_timeout(1000)  # for a look that had begun
        count = len(found.requests)
        page.wait_for_timeout(4000)
        assert len(found.requests) == count
        check_quiet(found, server)


def test_figures_are_those_that_prometheus_would_give(visiting, server):
    text = "\n".join(
        f'trainyard_request_seconds_bucket{{le="{le}",model="{model}",route="/predict",'
        f'status="{status}",variant="v",version="a\\"b"}} {count}.0'
        for model, status, counts in (
            ("m", "200", (0, 90, 98, 100)), ("m", "500", (0, 0, 0, 1)), ("", "404", (9, 9, 9, 9)),
        )
        for le, count in zip(("0.01", "0.1", "0.2", "+Inf"), counts, strict=True)
    )  # fmt: skip
    with visiting() as found:
        module = f"import('{server.url}/page/metrics.js')"
        [[name, told]] = found.page.evaluate(
            f"text => {module}.then(m => [...m.readRequests(text)].map(([k, v]) =>"
            " [k, [v.requests, v.faults, m.quantile(0.95, v.buckets)]]))",
            text,
        )
        assert json.loads(name) == ["m", 'a"b']
        assert told[:2] == [101, 1]
        # histogram_quantile: 0.95 * 101 = 95.95 of the counts 90 and 98 at 0.1 and 0.2.
        assert told[2] == pytest.approx(0.1 + 0.1 * (95.95 - 90) / 8)
        check_quiet(found, server)


def test_the_keyboard_is_enough(visiting, server, tmp_path):
    """From the address bar by Tab, letters, Enter and Space alone."""
    with visiting() as found:
        page = found.page
        page.wait_for_selector("#predict:enabled")
        press, focused = page.keyboard.press, lambda: page.evaluate("document.activeElement.id")

        def tab_to(wanted: str) -> None:
            for _ in range(12):
                press("Tab")
                if focused() == wanted:
                    outline = "getComputedStyle(document.activeElement).outlineStyle"
                    assert page.evaluate(outline) == "solid", wanted
                    return
            raise AssertionError(f"{wanted} is not reached")

        press("Tab")
        assert page.evaluate("document.activeElement.className") == "skip"
        press("Enter")
        tab_to("model")
        page.keyboard.type("moods")
        assert page.input_value("#model") == "moods"
        tab_to("text")
        page.keyboard.type('the film was good, it\'s "good" $HOME\n`good`')
        press("Control+Enter")
        page.wait_for_selector(".verdict")
        said = run_shown_command(page, tmp_path)
        assert page.inner_text(".verdict strong") == said["prediction"]["label"]
        page.focus("#text")
        page.keyboard.press("Control+A")
        press("Delete")
        tab_to("predict")
        press("Space")
        assert page.inner_text("#sample-error") == "Write a text first."
        assert focused() == "text"
        tab_to("copy")
        page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        press("Enter")
        page.wait_for_selector("#copied:has-text('Copied.')")
        copied = page.evaluate("navigator.clipboard.readText()")
        assert copied == page.inner_text("#command")
        check_quiet(found, server)


def test_tensors_are_answered_and_errors_are_told_in_the_servers_words(visiting, server, client):
    with visiting(color_scheme="dark") as found:
        page = found.page
        page.wait_for_selector("#predict:enabled")
        page.select_option("#model", "double")
        assert json.loads(page.input_value("#tensors")) == {"x": [0, 0, 0, 0]}
        page.fill("#tensors", '{"x": [1, 2, 3, 4.5]}')
        page.click("#predict")
        page.wait_for_selector(".tensors")
        assert page.inner_text(".tensors pre") == "[2, 4, 6, 9]"
        check_accessible(found)
        assert found.complaints == []
        page.fill("#tensors", '{"x": [1]}')
        page.click("#predict")
        page.wait_for_selector(".error")
        body = {"model": "double", "inputs": {"x": [1]}}
        error = client.post("/predict", json=body).json()["error"]
        assert error["message"] in page.inner_text(".error")
        assert error["field"] in page.inner_text(".facts")
        check_accessible(found)
        page.fill("#tensors", "{")
        page.click("#predict")
        assert page.inner_text("#sample-error").startswith("This is not JSON")
        assert page.get_attribute("#tensors", "aria-invalid") == "true"
        assert len(found.complaints) == 1, "Chromium's own line about the 400"


def test_the_theme_is_the_visitors_to_choose_and_stays(visiting, server):
    with visiting(color_scheme="light") as found:
        page = found.page
        shade = "getComputedStyle(document.body).backgroundColor"
        light = page.evaluate(shade)
        page.click("[aria-label='Use the dark theme']")
        assert page.evaluate(shade) != light
        page.reload()
        assert page.evaluate(shade) != light
        page.emulate_media(reduced_motion="reduce")
        page.click("[aria-label='Use the light theme']")
        assert page.evaluate(shade) == light
        assert page.evaluate("localStorage.length") == 0, "as the system has it: nothing is kept"
        check_quiet(found, server)


def test_an_image_can_be_dropped_or_pasted(visiting, server, digit):
    hand_over = """async (kind) => {
      const canvas = new OffscreenCanvas(40, 40);
      canvas.getContext("2d").fillRect(0, 0, 40, 40);
      const blob = await canvas.convertToBlob();
      const transfer = new DataTransfer();
      transfer.items.add(new File([blob], `${kind}.png`, { type: "image/png" }));
      const event = kind === "paste"
        ? new ClipboardEvent("paste", { clipboardData: transfer, bubbles: true, cancelable: true })
        : new DragEvent("drop", { dataTransfer: transfer, bubbles: true, cancelable: true });
      document.body.dispatchEvent(event);
    }"""
    with visiting() as found:
        page = found.page
        page.wait_for_selector("#predict:enabled")
        for kind in ("drop", "paste"):
            page.evaluate(hand_over, kind)
            found.until(f"command.textContent.includes('{kind}.png')")
            page.wait_for_selector(".verdict")
        check_quiet(found, server)


def test_a_key_is_asked_for_sent_and_forgotten(chromium, bundles, tmp_path):
    with (
        running_server(
            *("--model", str(bundles / "text"), "--threads", "1"),
            folder=tmp_path,
            environment={"TRAINYARD_API_KEYS": f"shop:predict:{KEY}"},
        ) as server,
        visit(chromium, server.url) as found,
    ):
        page = found.page
        page.wait_for_selector("#key:visible")
        check_accessible(found)
        page.fill("#key-field", "not the right key")
        page.press("#key-field", "Enter")
        page.wait_for_selector("#key-error:has-text('no spaces')")
        page.fill("#key-field", "not-the-right-key")
        page.press("#key-field", "Enter")
        page.wait_for_selector("#key-error:has-text('a valid API key is needed')")
        page.fill("#key-field", KEY)
        page.press("#key-field", "Enter")
        page.wait_for_selector("#key", state="hidden")
        page.wait_for_selector("#metrics-refused:has-text(\"has no scope 'metrics'\")")
        page.fill("#text", "good")
        page.click("#predict")
        page.wait_for_selector(".verdict")
        assert KEY not in page.content()
        assert '"Authorization: Bearer $API_KEY"' in page.inner_text("#command")
        assert page.evaluate("[sessionStorage.length, localStorage.length]") == [1, 0]
        page.reload()
        page.wait_for_selector("#predict:enabled")
        page.click("#forget")
        page.wait_for_selector("#key:visible")
        assert page.evaluate("sessionStorage.length") == 0
        assert found.violations() == []


def test_without_the_page_there_is_nothing(bundles, tmp_path):
    with (
        running_server(
            *("--model", str(bundles / "double.onnx"), "--threads", "1"),
            folder=tmp_path,
            environment={"TRAINYARD_PAGE": "off"},
        ) as server,
        server.client() as client,
    ):
        assert client.get("/").status_code == 404
        assert client.get("/page/main.js").status_code == 404
        assert client.get("/health").status_code == 200
