"""What `benchmarks/serving.py` plays: each scenario's sides, and what they should show."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING

from benchmarks.servers.bench import TOKENS, Bench, saturate
from benchmarks.servers.scenario import Claim, Figures, Round, Scenario, quotient
from benchmarks.servers.wrk import Post, crowd, encode, press

if TYPE_CHECKING:
    from collections.abc import Mapping

    from benchmarks.servers.loads import Load
    from benchmarks.servers.process import Server

OURS, STOCK, STARLETTE, ENGINE = "ours", "LitServe", "Starlette", "engine"
SHARE = 0.7
"""Of saturation, where the latency is looked at."""
OVERLOAD = 3.0
TIMEOUT_MS = 1000
"""Of a request under overload."""
_SETTLE_SECONDS = 2.0


def scenarios(loads: Mapping[str, Load]) -> dict[str, Scenario]:
    """By name, lightest first."""
    found = (
        _null(loads["null"]),
        _cnn(loads["cnn"]),
        _heavy(loads["minilm"], "MiniLM, texts of 32 tokens, against the engine in full batches"),
        _heavy(loads["resnet18"], "ResNet-18, 150 kB, against the engine in full batches"),
        _mixed(loads["mixed"]),
        _idle(loads["null"]),
        _overload(loads["overload"]),
    )
    return {scenario.name: scenario for scenario in found}


def _null(load: Load) -> Scenario:
    return Scenario(
        "null",
        "an identity, JSON of 4 numbers",
        {
            OURS: partial(ours, load),
            STOCK: partial(theirs, load, "stock"),
            STARLETTE: partial(theirs, load, "echo"),
        },
        (
            Claim("requests/s, of LitServe's", quotient("per_second", OURS, STOCK), at_least=6),
            Claim(
                "requests/s, of a bare Starlette's",
                quotient("per_second", OURS, STARLETTE),
                at_least=0.6,
            ),
        ),
    )


def _cnn(load: Load) -> Scenario:
    return Scenario(
        "cnn",
        "two convolutions, JSON of 784 pixels",
        {OURS: partial(ours, load), STOCK: partial(theirs, load, "stock")},
        (Claim("requests/s, of LitServe's", quotient("per_second", OURS, STOCK), at_least=5),),
    )


def _heavy(load: Load, about: str) -> Scenario:
    def calm(seen: Round) -> float:
        return seen[OURS]["p99_ms_at_70"] / (2 * seen[ENGINE]["batch_ms"] + load.delay_ms)

    def lone(seen: Round) -> float:
        return seen[OURS]["lone_ms"] - seen[ENGINE]["lone_ms"] - load.delay_ms

    return Scenario(
        load.name,
        about,
        {ENGINE: partial(full_batches, load), OURS: partial(ours_and_calm, load)},
        (
            Claim(
                "requests/s, of the engine's", quotient("per_second", OURS, ENGINE), at_least=0.95
            ),
            Claim("p99 at 70 %, of 2 batches' time + delay", calm, at_most=1),
            Claim("a lone request, ms over the engine's and the delay", lone, at_most=5),
        ),
    )


def _mixed(load: Load) -> Scenario:
    return Scenario(
        "mixed",
        "MiniLM, texts of 3 to 128 tokens, against LitServe and sorted batches",
        {
            ENGINE: partial(sorted_batches, load),
            OURS: partial(ours, load),
            STOCK: partial(theirs, load, "stock"),
        },
        (
            Claim("requests/s, of LitServe's", quotient("per_second", OURS, STOCK), at_least=1.8),
            Claim(
                "requests/s, of the engine's in sorted batches",
                quotient("per_second", OURS, ENGINE),
                at_least=0.9,
            ),
            Claim("p99, of LitServe's", quotient("p99_ms", OURS, STOCK), at_most=1),
        ),
    )


def _idle(load: Load) -> Scenario:
    return Scenario(
        "idle",
        "nobody asks",
        {OURS: partial(ours_idle, load), STOCK: partial(stock_idle, load)},
        (
            Claim(
                "of a core, the busiest process, %",
                lambda seen: seen[OURS]["busiest_percent"],
                at_most=1,
            ),
        ),
    )


def _overload(load: Load) -> Scenario:
    return Scenario(
        "overload",
        f"MiniLM on all cores but one, {OVERLOAD:g} times as many requests as it can answer, "
        f"each for {TIMEOUT_MS} ms",
        {OURS: partial(ours_overloaded, load)},
        (
            Claim("good answers/s, of the peak", lambda seen: seen[OURS]["goodput"], at_least=0.9),
            Claim("requests/s, of the peak", lambda seen: seen[OURS]["offered"], at_least=OVERLOAD),
        ),
    )


def ours(load: Load, bench: Bench) -> Figures:
    with bench.ours(load) as server:
        return saturate(server, load.ours(), load, seconds=bench.seconds, threads=_visible(load))


def theirs(load: Load, module: str, bench: Bench) -> Figures:
    with bench.module(module, load) as server:
        return saturate(server, load.plain(), load, seconds=bench.seconds, threads=_visible(load))


def full_batches(load: Load, bench: Bench) -> Figures:
    engine = bench.engine(load)
    per_second, batch_ms = engine.full(bench.seconds)
    return {
        "per_second": per_second,
        "batch_ms": batch_ms,
        "lone_ms": engine.lone_ms(bench.seconds / 2),
    }


def sorted_batches(load: Load, bench: Bench) -> Figures:
    return {"per_second": bench.engine(load).sorted(bench.seconds, tokens=TOKENS)}


def ours_and_calm(load: Load, bench: Bench) -> Figures:
    """At saturation, at 70 % of it with requests that come when they like, and one at a time."""
    post = load.ours()
    with bench.ours(load) as server:
        figures = saturate(server, post, load, seconds=bench.seconds, threads=_visible(load))
        rate = SHARE * figures["per_second"]
        guess = 1.5 * load.batch_size / figures["per_second"]
        connections, think = crowd(rate, answer_seconds=guess)
        calm = press(
            server.url, post, connections=connections, seconds=2 * bench.seconds * load.stretch,
            think_seconds=think,
        )  # fmt: skip
        lone = press(server.url, post, connections=1, seconds=bench.seconds / 2)
    return figures | {
        "share": calm.per_second / figures["per_second"],
        "p99_ms_at_70": calm.p99_ms,
        "lone_ms": lone.p50_ms,
    }


def ours_overloaded(load: Load, bench: Bench) -> Figures:
    """Good answers and all requests, as shares of what it answers at most."""
    plain = load.ours()
    (*bodies,) = ({"text": text, "timeout_ms": TIMEOUT_MS} for text in load.samples())
    post = Post(plain.path, encode(bodies))
    with bench.ours(load) as server:
        figures = saturate(server, plain, load, seconds=bench.seconds, threads=_visible(load))
        peak = figures["per_second"]
        think, answer = 2.0, 0.6  # about; what was offered is shown
        pressed = press(
            server.url, post, seconds=2 * bench.seconds, think_seconds=think, refusals=True,
            connections=round(OVERLOAD * peak * (think + answer)),
        )  # fmt: skip
    return {
        "peak_per_second": peak,
        "offered": pressed.offered / peak,
        "goodput": pressed.per_second / peak,
    }


def ours_idle(load: Load, bench: Bench) -> Figures:
    with bench.ours(load) as server:
        return idle(server, load.ours(), load, seconds=bench.seconds)


def stock_idle(load: Load, bench: Bench) -> Figures:
    with bench.module("stock", load) as server:
        return idle(server, load.plain(), load, seconds=bench.seconds)


def idle(server: Server, post: Post, load: Load, *, seconds: float) -> Figures:
    """After some work: share of a core that each process takes for nothing."""
    press(server.url, post, connections=load.connections, seconds=1.0)
    time.sleep(_SETTLE_SECONDS)
    before, began = server.cpu_seconds(), time.perf_counter()
    time.sleep(seconds)
    elapsed = time.perf_counter() - began
    after = server.cpu_seconds()
    shares = [(after[pid] - before[pid]) / elapsed * 100 for pid in after if pid in before]
    return {"busiest_percent": max(shares), "processes": len(shares)}


def _visible(load: Load) -> int | None:
    """Threads of the engine, where they compute more than anything else does."""
    return load.threads if load.model in ("minilm", "resnet18") else None
