"""What a device could compute at most, by its data sheet: what a run's speed is measured against.

Dense operations, without sparsity, in 10^12 a second. Sources: NVIDIA's data sheets of each GPU
(nvidia.com/en-us/data-center/…); for GeForce the Ada and Ampere GA102 architecture papers, with
accumulation in float32.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

from trainer.schema import PrecisionName


class Peak(NamedTuple):
    """By number format; tf32 is what float32 matrices are multiplied in where that is allowed."""

    half: float
    tf32: float
    fp32: float


_PEAKS = (  # the first whose words are all in the device's name
    ({"B200"}, Peak(2250.0, 1125.0, 75.0)),
    ({"GH200"}, Peak(989.4, 494.7, 67.0)),
    ({"H200"}, Peak(989.4, 494.7, 67.0)),
    ({"H100", "PCIE"}, Peak(756.0, 378.0, 51.0)),
    ({"H100", "NVL"}, Peak(835.0, 417.5, 60.0)),
    ({"H100"}, Peak(989.4, 494.7, 67.0)),
    ({"A100"}, Peak(312.0, 156.0, 19.5)),
    ({"A40"}, Peak(149.7, 74.8, 37.4)),
    ({"A10G"}, Peak(70.0, 35.0, 35.0)),
    ({"A10"}, Peak(125.0, 62.5, 31.2)),
    ({"L40S"}, Peak(362.0, 183.0, 91.6)),
    ({"L4"}, Peak(121.0, 60.0, 30.3)),
    ({"V100"}, Peak(125.0, 15.7, 15.7)),
    ({"T4"}, Peak(65.0, 8.1, 8.1)),
    ({"RTX", "4090"}, Peak(165.2, 82.6, 82.6)),
    ({"RTX", "3090"}, Peak(71.0, 35.6, 35.6)),
)


def peak_tflops(device_name: str, precision: PrecisionName) -> float | None:
    """Of a GPU by its name; None for one that is not in the table."""
    name = set(device_name.upper().replace("-", " ").split())
    for words, peak in _PEAKS:
        if words <= name:
            if precision is not PrecisionName.fp32:
                return peak.half
            allowed = torch.backends.cuda.matmul.allow_tf32
            return peak.tf32 if allowed else peak.fp32
    return None
