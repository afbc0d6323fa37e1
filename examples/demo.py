"""The whole line in one command: train on real digits, export, register, serve, ask over HTTP.

    python examples/demo.py [--folder DIR] [--images N] [override …]

Overrides go to train.py (`python examples/demo.py trainer.max_epochs=1`). Everything the demo
makes, its registry and cache included, lies in the folder; the server is stopped at the end.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
from PIL import Image

from bundle.command import run_command
from bundle.model import Model
from serving.child import served
from trainer.restore import restore

if TYPE_CHECKING:
    from trainer.data.samples import RawSample

ROOT = Path(__file__).resolve().parent.parent
CLIENTS = 8


@dataclass(frozen=True)
class Answers:
    """What the server said to the same images, one by one and from many clients at once."""

    labels: list[str]
    milliseconds: list[float]
    """One client, one request at a time."""
    per_second: float
    """Requests a second of CLIENTS clients together."""


def main() -> None:
    """Run the line and print its table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--folder", type=Path, default=None, help="default: outputs/demo/<time>")
    parser.add_argument("--images", type=int, default=200, help="test images sent over HTTP")
    parser.add_argument("overrides", nargs="*", help="overrides of train.py")
    args = parser.parse_args()
    if args.images < 1:
        parser.error(f"--images {args.images} must be 1 or more")
    folder = (args.folder or ROOT / "outputs" / "demo" / time.strftime("%Y%m%d-%H%M%S")).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    settings = {
        "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db",
        "TRAINYARD_CACHE": str(folder / "cache"),
    }

    step("1/4 train")
    started = time.perf_counter()
    run(["train.py", f"hydra.run.dir={folder}/train", *args.overrides], folder, settings)
    training_seconds = time.perf_counter() - started
    summary = json.loads((folder / "train" / "summary.json").read_text(encoding="utf-8"))
    checkpoint = Path(summary["best_checkpoint"])

    step("2/4 export and register")
    printed = run(
        ["export.py", f"checkpoint={checkpoint}", "target=none", f"output={folder}/bundle"],
        folder,
        settings,
    )
    model = Model.load(printed.strip().splitlines()[-1])
    name = model.name
    variant = model.manifest.variant(model.manifest.default_variant)

    step("3/4 serve")
    images, truth = held_out_images(checkpoint, args.images)
    uri = f"models:/{name}@champion"
    with served(["--model", uri], log=folder / "serve.log", environment=settings) as url:
        step(f"4/4 ask {url}")
        answers = ask(url, images)

    in_process = model.predict_batch([{"image": image} for image in images])
    print_table(
        {
            "model": f"{name} ({uri})",
            "training time": f"{training_seconds:.0f} s",
            "test accuracy": f"{summary['metrics']['test/accuracy']:.2%}",
            "accuracy over HTTP": f"{share_equal(answers.labels, truth):.2%} of {len(images)}",
            "HTTP = in process": f"{share_equal(answers.labels, labels_of(in_process)):.2%}",
            "parity": f"max |Δlogit| {model.manifest.lineage['parity']['max_abs_diff']:.1e}",
            "checkpoint": megabytes(checkpoint.stat().st_size),
            "model in the bundle": megabytes(variant.bytes),
            "latency, one client": f"p50 {percentile(answers.milliseconds, 50):.1f} ms · "
            f"p99 {percentile(answers.milliseconds, 99):.1f} ms",
            f"throughput, {CLIENTS} clients": f"{answers.per_second:.0f} requests/s",
            "everything is in": str(folder),
        }
    )


def step(text: str) -> None:
    """Tell where the demo is."""
    print(f"── {text}", file=sys.stderr, flush=True)


def run(command: list[str], folder: Path, settings: dict[str, str]) -> str:
    """Run one of the commands in `folder`; its stdout. Leaves with its exit code if it fails.

    `settings` are added to the environment.
    """
    script, *arguments = command
    done = subprocess.run(
        [sys.executable, str(ROOT / script), *arguments],
        cwd=folder, env=os.environ | settings, stdout=subprocess.PIPE, text=True, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        sys.exit(done.returncode)
    return done.stdout


def held_out_images(checkpoint: Path, count: int) -> tuple[list[bytes], list[str]]:
    """PNG files of the first `count` test images, which training never saw, and their labels."""
    data = restore(checkpoint).data()
    samples = data.samples("test")
    images = [as_png(samples.raw[index]) for index in range(min(count, len(samples)))]
    return images, [data.labels[label] for label in samples.labels[:count].tolist()]


def as_png(pixels: RawSample) -> bytes:
    """A uint8 image of shape (H, W) or (H, W, 3) as a file."""
    if not isinstance(pixels, np.ndarray):
        sys.exit("error: the demo sends images; name data whose samples are pixels")
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format="PNG")
    return stream.getvalue()


def ask(url: str, images: list[bytes]) -> Answers:
    """Post every image to /predict, first one by one, then from CLIENTS threads."""
    with httpx.Client(base_url=url, timeout=30.0, headers={"Content-Type": "image/png"}) as client:

        def predict(image: bytes) -> str:
            response = client.post("/predict", content=image)
            response.raise_for_status()
            return str(response.json()["prediction"]["label"])

        predict(images[0])
        labels: list[str] = []
        milliseconds: list[float] = []
        for image in images:
            started = time.perf_counter()
            labels.append(predict(image))
            milliseconds.append((time.perf_counter() - started) * 1e3)
        started = time.perf_counter()
        with ThreadPoolExecutor(CLIENTS) as pool:
            together = list(pool.map(predict, images * 3))
        seconds = time.perf_counter() - started
    if together != labels * 3:
        sys.exit("error: the server answered the same images differently when asked at once")
    return Answers(labels, milliseconds, len(together) / seconds)


def labels_of(predictions: list[dict[str, Any]]) -> list[str]:
    """The winning label of each."""
    return [str(prediction["prediction"]["label"]) for prediction in predictions]


def share_equal(left: list[str], right: list[str]) -> float:
    """The share of places at which both lists say the same, 0…1."""
    return statistics.fmean(a == b for a, b in zip(left, right, strict=True))


def percentile(values: list[float], percent: float) -> float:
    """Linear interpolation, as numpy does it."""
    return float(np.percentile(values, percent))


def megabytes(count: int) -> str:
    """Bytes in millions."""
    return f"{count / 1e6:.2f} MB"


def print_table(rows: dict[str, str]) -> None:
    """Two aligned columns on stdout."""
    width = max(map(len, rows))
    for key, value in rows.items():
        print(f"  {key:<{width}}  {value}")


if __name__ == "__main__":
    run_command(main)
