"""One model in every runtime that this machine has, timed against each other.

    python -m optimize.compare BUNDLE|model.onnx [--batch-sizes 1,8,32] [--output FILE] …

The table goes to stdout, and under it what it was measured by; `--output FILE` keeps all figures as
JSON, and what was printed beside it (.md).
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING

from bundle.archive import open_bundle
from bundle.bare import open_bare
from bundle.command import run_command
from bundle.engine.cores import available_cores
from bundle.errors import RequestError
from optimize.comparison import compare
from optimize.folders import check_writable
from optimize.schema import LARGEST_BATCH, BenchmarkConfig, check_sizes
from optimize.scratch import scratch

if TYPE_CHECKING:
    from bundle.archive import Bundle
    from bundle.manifest import Variant


TABLE = ".md"
"""How the table's file ends, beside that of the figures."""


def main(argv: list[str] | None = None) -> int:
    """Raises RequestError for a wrong argument, OptimizeError if nothing can be measured."""
    arguments = _parser().parse_args(argv)
    bundle = _open(arguments.model)
    settings = BenchmarkConfig(
        batch_sizes=_sizes(arguments.batch_sizes),
        rounds=_at_least("--rounds", arguments.rounds, 2),
        seconds=_seconds(arguments.seconds),
    )
    threads = _threads(arguments.threads)
    output = _output(arguments.output)
    with scratch("compare") as workspace:
        comparison = compare(
            bundle,
            settings,
            variant=_onnx_variant(bundle, arguments.variant).name,
            threads=threads,
            workspace=workspace,
            checkpoint=arguments.checkpoint,
        )
    text = comparison.text()
    if output is not None:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(json.dumps(comparison.to_dict(), indent=2) + "\n")
        output.with_suffix(TABLE).write_text(text + "\n")
    print(text)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m optimize.compare",
        description="Time one model in TensorRT, ONNX Runtime, OpenVINO and torch.",
        allow_abbrev=False,
    )
    parser.add_argument("model", type=Path, help="a bundle's folder, or an .onnx file")
    parser.add_argument("--variant", help="which of the bundle's ONNX variants (default: fp32)")
    parser.add_argument("--checkpoint", type=Path, help="the same weights, for torch")
    parser.add_argument("--batch-sizes", default="1,8,32", help="separated by commas")
    parser.add_argument("--rounds", type=int, default=7, help="turns that each runtime has")
    parser.add_argument("--seconds", type=float, default=0.5, help="length of one turn")
    parser.add_argument("--threads", type=int, default=available_cores(), help="on the CPU")
    parser.add_argument("--output", type=Path, help="JSON file of all figures")
    return parser


def _open(path: Path) -> Bundle:
    return open_bundle(path) if path.is_dir() else open_bare(path)


def _onnx_variant(bundle: Bundle, name: str | None) -> Variant:
    usable = [each for each in bundle.manifest.variants if each.format == "onnx" and each.file]
    if name is None and usable:
        return next((each for each in usable if each.precision == "fp32"), usable[0])
    if name is not None and bundle.manifest.variant(name) in usable:
        return bundle.manifest.variant(name)
    raise RequestError(
        f"{bundle.manifest.name!r} has no ONNX graph"
        if name is None
        else f"--variant {name} {_why_not(bundle.manifest.variant(name))}",
        field="variant",
        remedy=f"choose one of {', '.join(each.name for each in usable)}"
        if usable
        else "choose another bundle",
    )


def _why_not(variant: Variant) -> str:
    if variant.file is None:
        return f"was refused and has no file: {variant.gate.reason}"
    return f"is of format {variant.format}, and no ONNX graph"


def _sizes(text: str) -> list[int]:
    try:
        sizes = [int(part) for part in text.split(",")]
    except ValueError:
        sizes = [0]
    wanted = f"be numbers from 1 to {LARGEST_BATCH}, separated by commas"
    check_sizes(sizes, f"--batch-sizes {text}", wanted=wanted, field="batch_sizes")
    return sizes


def _at_least(flag: str, value: int, least: int) -> int:
    if value < least:
        raise RequestError(f"{flag} {value} must be {least} or more", field=flag.strip("-"))
    return value


def _threads(value: int) -> int:
    """More than there are cores would be timed as the cores' taking turns."""
    if value > available_cores():
        raise RequestError(
            f"--threads {value} must be {available_cores()} or fewer",
            field="threads",
            remedy="as many as this process has cores",
        )
    return _at_least("--threads", value, 1)


def _seconds(value: float) -> float:
    if not (value >= 0 and math.isfinite(value)):
        raise RequestError(f"--seconds {value} must be a number of 0 or more", field="seconds")
    return value


def _output(path: Path | None) -> Path | None:
    """Raises RequestError where the table would take the place of the figures, and where nothing
    can be written.
    """
    if path is not None and path.suffix == TABLE:
        raise RequestError(
            f"--output {path} is where the table goes, and not the figures",
            field="output",
            remedy=f"use --output {path.with_suffix('.json')}: the table is written beside it",
        )
    if path is not None:
        if path.is_dir() or path.with_suffix(TABLE).is_dir():
            raise RequestError(
                f"--output {path}: a folder has that name", field="output", remedy="name a file"
            )
        check_writable(path.parent, field="output", value=path)
    return path


if __name__ == "__main__":
    run_command(main)
