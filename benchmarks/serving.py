"""A served model against its bare engine: throughput as a ratio, and latency. One run.

    python benchmarks/serving.py [--model URI] [--seconds S] [--rounds N] [--json FILE]

Without --model a small convolutional network is trained for a moment and exported first: what it
answers does not matter here. Engine and server are measured in alternating rounds with the same
number of threads, and the medians are printed. `wrk` makes the load where it is installed;
otherwise a Python client does, which takes much of the machine for itself: the figures of HTTP are
then a lower bound, and the table says so.
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnxruntime
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
sys.path[0] = str(ROOT)  # this file's own folder would offer itself as the package `serving`

from bundle.command import run_command
from bundle.model import Model
from bundle.preprocessing.config import ImageConfig
from serving.child import served

TEXT = "the straight line from a config to an answer has no seams at all"


@dataclass(frozen=True)
class Load:
    """What a load of requests measured."""

    per_second: float
    p50_ms: float
    p99_ms: float


def main() -> None:
    """Measure, print, and write JSON if asked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", help="URI of a labelled bundle; default: one made on the spot")
    parser.add_argument("--seconds", type=float, default=4.0, help="length of a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--threads", type=int, default=1, help="threads of the engine")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--json", type=Path, help="also write the figures here")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        uri = args.model or make_bundle(folder)
        model = Model.load(uri, threads=args.threads, max_batch_size=args.batch_size)
        threads = model.engine.metadata()["threads"]
        if threads != args.threads:
            sys.exit(
                f"error: the engine runs {threads} threads where {args.threads} were asked for"
            )
        request = make_request(model)
        flags = [
            "--model",
            uri,
            "--threads",
            str(args.threads),
            "--batch-size",
            str(args.batch_size),
        ]
        engine: list[float] = []
        loads: list[Load] = []
        with served(flags, log=folder / "serve.log") as url:
            ask(url, request, seconds=1.0, connections=args.connections)
            for _ in range(args.rounds):
                engine.append(run_engine(model, args.batch_size, seconds=args.seconds))
                loads.append(ask(url, request, seconds=args.seconds, connections=args.connections))
    figures: dict[str, Any] = {
        "model": model.name,
        "client": "wrk" if shutil.which("wrk") else "python",
        "engine_samples_per_second": statistics.median(engine),
        "http": {
            key: statistics.median(asdict(load)[key] for load in loads) for key in asdict(loads[0])
        },
        "settings": {
            "threads": threads, "batch_size": args.batch_size, "connections": args.connections,
            "rounds": args.rounds, "seconds": args.seconds,
        },
        "machine": {
            "cores": os.cpu_count(), "load": os.getloadavg()[0], "processor": processor(),
            "python": platform.python_version(), "onnxruntime": onnxruntime.__version__,
        },
    }  # fmt: skip
    figures["ratio"] = figures["http"]["per_second"] / figures["engine_samples_per_second"]
    print_table(figures)
    if args.json:
        args.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


def make_bundle(folder: Path) -> str:
    """A `resnet_tiny` that saw a few digits: the path of its bundle."""
    environment = os.environ | {"MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db"}
    train = ["data=mnist", "data.limit=256", "trainer.max_epochs=1", "tracking=none"]
    export = [f"checkpoint={folder}/train/checkpoints/best.ckpt", f"output={folder}/bundle"]
    for script, arguments in (
        ("train.py", [*train, f"hydra.run.dir={folder}/train"]),
        ("export.py", [*export, "target=none", "register=null"]),
    ):
        command = [sys.executable, str(ROOT / script), *arguments]
        subprocess.run(command, cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL)
    return str(folder / "bundle")


def make_request(model: Model) -> bytes:
    """The JSON body of one sample that the model takes."""
    if model.preprocessor is None:
        sys.exit("error: --model needs preprocessing: name a bundle, not a bare graph")
    if not isinstance(model.preprocessor.config, ImageConfig):
        return json.dumps({"text": TEXT}).encode()
    config = model.preprocessor.config
    pixels = np.random.default_rng(0).integers(0, 256, (config.height, config.width), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format="PNG")
    return json.dumps({"image": base64.b64encode(stream.getvalue()).decode()}).encode()


def run_engine(model: Model, batch_size: int, *, seconds: float) -> float:
    """Samples a second of the engine alone, fed with full batches."""
    preprocessor = model.preprocessor
    if preprocessor is None:
        raise AssertionError("make_request has checked it")
    body = json.loads(make_request(model))
    sample = base64.b64decode(body["image"]) if "image" in body else body["text"]
    batch = preprocessor.collate([preprocessor(sample)] * batch_size)
    model.engine.predict_batch(batch)
    count, started = 0, time.perf_counter()
    while time.perf_counter() - started < seconds:
        model.engine.predict_batch(batch)
        count += batch_size
    return count / (time.perf_counter() - started)


def ask(url: str, body: bytes, *, seconds: float, connections: int) -> Load:
    """POST the body to /predict from so many connections for so long."""
    if shutil.which("wrk"):
        return ask_with_wrk(url, body, seconds=seconds, connections=connections)
    latencies: list[float] = []
    stop = time.perf_counter() + seconds

    def client() -> None:
        with httpx.Client(base_url=url, headers={"Content-Type": "application/json"}) as http:
            while time.perf_counter() < stop:
                started = time.perf_counter()
                http.post("/predict", content=body).raise_for_status()
                latencies.append((time.perf_counter() - started) * 1e3)

    clients = [threading.Thread(target=client) for _ in range(connections)]
    started = time.perf_counter()
    for one in clients:
        one.start()
    for one in clients:
        one.join()
    elapsed = time.perf_counter() - started
    p50, p99 = np.percentile(latencies, [50, 99]).tolist()
    return Load(len(latencies) / elapsed, p50, p99)


def ask_with_wrk(url: str, body: bytes, *, seconds: float, connections: int) -> Load:
    """The same through wrk."""
    script = (
        'wrk.method = "POST"\n'
        'wrk.headers["Content-Type"] = "application/json"\n'
        f"wrk.body = [==[{body.decode()}]==]\n"
        "done = function(summary, latency)\n"
        '  io.write(string.format("FIGURES %d %d %f %f %d\\n",'
        " summary.requests, summary.duration,"
        " latency:percentile(50), latency:percentile(99), summary.errors.status))\n"
        "end\n"
    )
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as lua:
        lua.write(script)
        lua.flush()
        command = ["wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "-s", lua.name]
        done = subprocess.run(
            [*command, f"{url}/predict"], capture_output=True, text=True, check=True
        )
    found = re.search(r"FIGURES (\d+) (\d+) (\S+) (\S+) (\d+)", done.stdout)
    if found is None or found[5] != "0":
        sys.exit(f"error: wrk saw errors\n{done.stdout}")
    requests, microseconds = int(found[1]), int(found[2])
    return Load(requests / microseconds * 1e6, float(found[3]) / 1e3, float(found[4]) / 1e3)


def processor() -> str:
    """The processor's name, as the kernel tells it."""
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def print_table(figures: dict[str, Any]) -> None:
    """What was measured, a line each."""
    http = figures["http"]
    bound = "" if figures["client"] == "wrk" else " (HTTP: a lower bound)"
    print(f"{figures['model']}, load made by {figures['client']}{bound}")
    print(f"  engine, full batches  {figures['engine_samples_per_second']:10.0f} samples/s")
    print(f"  HTTP /predict         {http['per_second']:10.0f} requests/s")
    print(f"  ratio                 {figures['ratio']:10.3f}")
    print(f"  latency               p50 {http['p50_ms']:.1f} ms · p99 {http['p99_ms']:.1f} ms")
    print(f"  {json.dumps(figures['settings'])} {json.dumps(figures['machine'])}")


if __name__ == "__main__":
    run_command(main)
