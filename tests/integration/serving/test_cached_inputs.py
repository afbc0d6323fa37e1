"""A server that keeps preprocessed inputs answers as before, and counts what it spared."""

from __future__ import annotations

import numpy as np

from tests.running_server import running_server
from tests.tiny_bundle import encode


def test_answers_are_the_same_and_hits_are_counted(bundles, tmp_path):
    picture = encode(np.arange(90, dtype=np.uint8).reshape(9, 10))
    headers = {"Content-Type": "image/png"}
    with (
        running_server(
            *("--model", str(bundles / "image"), "--model", str(bundles / "text")),
            *("--threads", "1", "--api-processes", "1", "--cache-mb", "1"),
            folder=tmp_path,
        ) as server,
        server.client() as client,
    ):
        answers = [client.post("/predict", content=picture, headers=headers) for _ in range(4)]
        assert len({str(answer.json()["prediction"]) for answer in answers}) == 1
        texts = {"instances": [{"text": "good"}, {"text": "bad"}, {"text": "good"}]}
        found = client.post("/predict/batch", json=texts | {"model": "moods"}).json()
        assert found["predictions"][0] == found["predictions"][2]
        scrape = server.scrape()
        labels = {"model": "shades"}
        assert scrape.total("trainyard_cache_hits_total", **labels) == 3
        assert scrape.total("trainyard_cache_misses_total", **labels) == 1
        assert scrape.total("nv_cache_num_hits_per_model", model="moods") == 1
        assert scrape.total("nv_cache_num_misses_per_model", model="moods") == 2
        assert 0 < scrape.total("trainyard_cache_bytes") <= 2**20
        statistics = client.get("/v2/models/shades/stats").json()["model_stats"][0]
        assert statistics["inference_stats"]["cache_hit"]["count"] == 3
        assert statistics["inference_stats"]["cache_miss"]["count"] == 1
