"""A bundle of one's own against its bare engine."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from benchmarks.servers.bench import saturate
from benchmarks.servers.engine import full_speed
from benchmarks.servers.loads import Load
from benchmarks.servers.scenario import Claim, Figures, Scenario, quotient
from benchmarks.servers.wrk import Post, encode
from bundle.model import Model
from bundle.preprocessing.config import ImageConfig

if TYPE_CHECKING:
    from benchmarks.servers.bench import Bench

TEXT = "the straight line from a config to an answer has no seams at all"


def own_scenario(
    uri: str, *, threads: int, batch_size: int, delay_ms: float, connections: int
) -> Scenario:
    """One sample over and over. Raises SystemExit for a model without preprocessing, and where the
    engine takes another number of threads.
    """
    model = Model.load(uri, provider="cpu", threads=threads, max_batch_size=batch_size)
    found = model.engine.metadata()["threads"]
    if found != threads:
        raise SystemExit(f"error: the engine runs {found} threads where {threads} were asked for")
    body = make_body(model)
    load = Load(model.name, model.name, connections, batch_size, delay_ms, threads, list)
    post = Post("/predict", encode([body]))

    def engine(bench: Bench) -> Figures:
        batch = _batch(model, body, batch_size)
        per_second, batch_ms = full_speed(
            model.engine, batch, size=batch_size, seconds=bench.seconds
        )
        return {"per_second": per_second, "batch_ms": batch_ms}

    def ours(bench: Bench) -> Figures:
        with bench.serve(uri, post, load) as server:
            return saturate(server, post, load, seconds=bench.seconds)

    claim = Claim("requests/s, of the engine's", quotient("per_second", "ours", "engine"))
    return Scenario(model.name, uri, {"engine": engine, "ours": ours}, (claim,))


def make_body(model: Model) -> dict[str, Any]:
    """One sample that the model takes."""
    if model.preprocessor is None:
        raise SystemExit("error: --model needs preprocessing: name a bundle, not a bare graph")
    config = model.preprocessor.config
    if not isinstance(config, ImageConfig):
        return {"text": TEXT}
    pixels = np.random.default_rng(0).integers(0, 256, (config.height, config.width), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format="PNG")
    return {"image": base64.b64encode(stream.getvalue()).decode()}


def _batch(model: Model, body: dict[str, Any], size: int) -> dict[str, Any]:
    preprocessor = model.preprocessor
    if preprocessor is None:
        raise AssertionError("make_body has checked it")
    sample = base64.b64decode(body["image"]) if "image" in body else body["text"]
    return dict(preprocessor.collate([preprocessor(sample)] * size))
