"""The server beside what one would pick instead: the same loads, in turns, in one run.

    python -m benchmarks.peers.compare [--peer NAME …] [--load NAME …] [--rounds N] [--seconds S]
                                       [--quick] [--docs FOLDER] [--output FILE]

Each peer is installed into an environment of its own below `benchmarks/peers/.venvs`, from its file
in `requirements/`, the first time it is asked for; one that cannot be installed or started is
skipped, with its reason. All run the same graphs on ONNX Runtime with the same number of threads,
one worker, and may batch as far and wait as long. The table and the picture go to --docs.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.machine import machine
from benchmarks.peers.peer import PEERS, NotInstalledError, Peer
from benchmarks.peers.report import draw, insert, markdown
from benchmarks.rounds import take_turns
from benchmarks.servers.bench import ROOT, Bench, saturate
from benchmarks.servers.loads import loads
from benchmarks.servers.models import Models
from benchmarks.servers.process import NotStartedError
from benchmarks.servers.wrk import check_installed
from bundle.command import run_command
from bundle.engine.cores import available_cores

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.servers.loads import Load
    from benchmarks.servers.scenario import Figures

    Side = Callable[[], Figures]

LOADS = ("null", "cnn", "mixed")
OURS, STOCK = "Trainyard", "LitServe"


def main() -> None:
    """Install, measure, print; write the table, the picture and the JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--peer", nargs="*", choices=[peer.name for peer in PEERS])
    parser.add_argument("--load", nargs="+", choices=LOADS, default=list(LOADS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4.0, help="length of a load")
    parser.add_argument("--quick", action="store_true", help="one short round; no --docs")
    parser.add_argument(
        "--docs", type=Path, help="folder of performance.md; default: docs, unless --quick"
    )
    parser.add_argument("--output", type=Path, help="also write the figures here, as JSON")
    args = parser.parse_args()
    check_installed()
    rounds, seconds = (1, 2.0) if args.quick else (args.rounds, args.seconds)
    asked = [peer for peer in PEERS if args.peer is None or peer.name in args.peer]
    skipped: dict[str, str] = {}
    peers = installed(asked, skipped)
    known = loads(available_cores())
    figures: dict[str, Any] = {
        "settings": {"rounds": rounds, "seconds": seconds},
        "machine": machine("onnxruntime"),
        "loads": {},
        "skipped": skipped,
    }
    print(*(f"{key}: {value}" for key, value in figures["machine"].items()), sep=" · ", flush=True)
    with tempfile.TemporaryDirectory() as name:
        bench = Bench(Models(Path(name)), Path(name), seconds)
        for load in args.load:
            figures["loads"][load] = measure(known[load], peers, bench, skipped, rounds=rounds)
            print(f"{load}: {rounds} round(s)", flush=True)
    figures["versions"] = {STOCK: version("litserve")} | {p.title: p.version() for p in peers}
    text = markdown(figures)
    print(text)
    if args.docs or not args.quick:
        folder = args.docs or ROOT / "docs"
        draw(figures, folder / "peers.svg")
        insert(text, folder / "performance.md")
    if args.output:
        args.output.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


def installed(peers: list[Peer], skipped: dict[str, str]) -> list[Peer]:
    """Those that are; why the others are not goes into `skipped`."""
    found = []
    for peer in peers:
        try:
            peer.install(sys.executable)
            found.append(peer)
        except NotInstalledError as error:
            skipped[peer.title] = f"cannot be installed: {error}"
            print(f"skipped: {peer.title} {skipped[peer.title]}", flush=True)
    return found


def measure(
    load: Load, peers: list[Peer], bench: Bench, skipped: dict[str, str], *, rounds: int
) -> dict[str, list[Figures]]:
    """By title. A peer that fails once is left out of this load from then on."""
    sides: dict[str, Side] = {OURS: partial(ours, load, bench), STOCK: partial(stock, load, bench)}
    for peer in peers:
        sides[peer.title] = partial(theirs, peer, load, bench, skipped)
    found = take_turns(sides, rounds=rounds)
    return {title: turns for title, turns in found.items() if all(turns)}


def ours(load: Load, bench: Bench) -> Figures:
    with bench.ours(load) as server:
        return saturate(server, load.ours(), load, seconds=bench.seconds)


def stock(load: Load, bench: Bench) -> Figures:
    with bench.module("stock", load) as server:
        return saturate(server, load.plain(), load, seconds=bench.seconds)


def theirs(peer: Peer, load: Load, bench: Bench, skipped: dict[str, str]) -> Figures:
    """Nothing, and a reason in `skipped`, if it fails."""
    key = f"{peer.title}, {load.name}"
    if key in skipped:
        return {}
    try:
        with peer.serving(load, bench) as server:
            return saturate(server, peer.post(load), load, seconds=bench.seconds)
    except (NotStartedError, SystemExit) as error:
        skipped[key] = " ".join(str(error).split())[:200]
        print(f"skipped: {key}: {error}", flush=True)
        return {}


if __name__ == "__main__":
    run_command(main)
