"""Property 25: traffic is shared out as the split says, and each key keeps its version."""

from __future__ import annotations

import math
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bundle.shares import check_shares
from serving.routing.split import BUCKETS, Split, bucket

ROOT = Path(__file__).resolve().parents[2]
KEYS = 100_000


@pytest.mark.parametrize(
    "percent",
    [{1: 90.0, 2: 10.0}, {1: 50.0, 2: 50.0}, {1: 99.0, 2: 1.0}, {1: 60.0, 2: 30.0, 3: 10.0}],
)
@pytest.mark.parametrize("salt", ["digits", "reviews"])
def test_property_25_shares_are_kept_within_three_sigma_of_100_000_keys(percent, salt):
    split = Split.of(percent, champion=1)

    counts = Counter(split.pick(bucket(salt, f"user-{number}")) for number in range(KEYS))

    for number, share in percent.items():
        probability = share / 100
        sigma = math.sqrt(KEYS * probability * (1 - probability))
        assert abs(counts[str(number)] - KEYS * probability) <= 3 * sigma


def test_property_25_a_key_has_the_same_bucket_in_another_process():
    code = "from serving.routing.split import bucket; print([bucket('m', k) for k in ('a','ü','')])"
    result = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env={"PYTHONHASHSEED": "1", "PYTHONPATH": str(ROOT)},
    )
    assert result.stdout.strip() == str([bucket("m", key) for key in ("a", "ü", "")])


@given(
    st.floats(min_value=0.01, max_value=99.98),
    st.floats(min_value=0.01, max_value=99.98),
    st.lists(st.text(), max_size=50),
)
def test_property_25_a_ramp_never_moves_a_key_back(one, other, keys):
    small, large = sorted((one, other))
    before = Split.of({1: 100 - small, 2: small}, champion=1)
    after = Split.of({1: 100 - large, 2: large}, champion=1)
    for key in keys:
        number = bucket("m", key)
        if before.pick(number) == "2":
            assert after.pick(number) == "2"


@given(st.dictionaries(st.integers(1, 9), st.floats(0.1, 100), min_size=1), st.integers(1, 9))
def test_property_25_ranges_cover_all_buckets_once_in_order(weights, champion):
    total = math.fsum(weights.values())
    percent = {number: 100 * (weight / total) for number, weight in weights.items()}
    split = Split.of(check_shares(percent), champion=champion)
    ends = [end for _, end in split.ends]
    assert ends == sorted(ends)
    assert ends[-1] == BUCKETS
    assert set(split.versions) == set(map(str, percent))
    assert math.isclose(sum(split.shares.values()), 100)
    for version, share in split.shares.items():
        assert share > 0
        assert abs(share - percent[int(version)]) <= 0.01 + 1e-6
    if champion in percent:
        assert split.versions[-1] == str(champion)
