"""Property 19: every error is counted, under what it was."""

from __future__ import annotations

from collections import Counter

X = {"x": [1, 2, 3, 4]}
JSON = {"Content-Type": "application/json"}
CASES = {
    "malformed_json": ("/predict", {"content": b"{", "headers": JSON}),
    "missing_field": ("/predict", {"json": {}}),
    "unknown_field": ("/predict", {"json": {"inputs": X, "imagee": 1}}),
    "invalid_field": ("/predict", {"json": {"inputs": X, "priority": 0}}),
    "invalid_input": ("/predict", {"json": {"inputs": {"x": [1]}}}),
    "no_finite_answer": ("/predict", {"json": {"inputs": {"x": [0, 0]}, "model": "log"}}),
    "model_not_found": ("/predict", {"json": {"inputs": X, "model": "nope"}}),
    "version_not_found": ("/predict", {"json": {"inputs": X, "version": "7.0"}}),
    "too_many_instances": ("/predict/batch", {"json": {"instances": [{"inputs": X}] * 65}}),
    "body_too_large": ("/predict", {"content": bytes(200_000), "headers": JSON}),
    "unsupported_media_type": ("/predict", {"content": b"a,b", "headers": {"Content-Type": "a/b"}}),
    "deadline_exceeded": ("/predict", {"json": {"inputs": X, "timeout_ms": 1e-6}}),
    "not_found": ("/nowhere", {"json": {}}),
    "method_not_allowed": ("/metrics", {"json": {}}),
    "not_supported": ("/v2/logging", {"json": {}}),
    "forbidden": ("/v2/repository/models/double/load", {"json": {}}),
}


def test_property_19_every_kind_of_error_is_counted_as_often_as_it_happens(measured_server):
    before = measured_server.scrape()
    answered: Counter[tuple[str, ...]] = Counter()
    with measured_server.client() as client:
        for times, (kind, (path, options)) in enumerate(CASES.items(), start=1):
            for _ in range(times % 3 + 1):
                answer = client.post(path, **options)
                if not path.startswith("/v2"):
                    assert answer.json()["error"]["code"] == kind
                answered[kind, str(answer.status_code)] += 1
    after = measured_server.scrape()
    name = "trainyard_requests_total"
    counted = after.by(name, "error", "status") - before.by(name, "error", "status")
    assert {key: count for key, count in counted.items() if key[0]} == answered


def test_property_19_errors_of_a_model_are_in_tritons_counter_too(measured_server):
    def failures() -> Counter[tuple[str, ...]]:
        return measured_server.scrape().by("nv_inference_request_failure", "model", "reason")

    before = failures()
    with measured_server.client() as client:
        for _ in range(3):
            body = {"inputs": {"x": [0, 0]}, "model": "log"}
            assert client.post("/predict", json=body).status_code == 400
    assert failures() - before == {("log", "OTHER"): 3}
