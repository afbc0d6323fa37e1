"""Who trains, who validates, who tests: a function of the split seed and the samples' content."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from trainer.data.samples import SPLITS, IntArray
from trainer.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, eq=False)
class Splits:
    """Positions in the corpus, ascending and disjoint."""

    train: IntArray
    val: IntArray
    test: IntArray
    duplicates: int = 0
    """Samples left out because an identical one is kept."""

    def by_name(self) -> dict[str, IntArray]:
        return {"train": self.train, "val": self.val, "test": self.test}

    def without(self, indices: Sequence[int]) -> Splits:
        """The same splits, less these positions in the corpus."""
        gone = np.asarray(indices, dtype=np.int64)
        train, val, test = (np.setdiff1d(part, gone) for part in self.by_name().values())
        return replace(self, train=train, val=val, test=test)


@dataclass(frozen=True, kw_only=True)
class SplitPlan:
    """How a corpus is divided.

    Equal plans divide equal samples equally, in whatever order the samples come and whatever the
    run's own seed is.
    """

    seed: int
    val_fraction: float
    test_fraction: float
    dedupe: bool
    limit: int | None = None
    """Most training samples, classes kept in proportion."""


def split_corpus(
    digests: Sequence[bytes],
    labels: IntArray,
    *,
    usable: IntArray,
    classes: Sequence[str],
    given: IntArray | None,
    plan: SplitPlan,
    where: str,
) -> Splits:
    """Divide the `usable` positions, each class by itself; copies of a sample stay together.

    Splits that the data give (`given`, positions in SPLITS) are kept; the others are drawn from
    what is left for training. Raises DataError, beginning with `where`, if a class has too few
    samples for the splits asked for.
    """
    groups = _group(digests, usable)
    firsts = np.array([members[0] for members in groups], dtype=np.int64)
    kinds = labels[firsts]  # (groups,)
    _report_conflicts(groups, labels, classes=classes, where=where)
    placed = np.zeros(len(groups), dtype=np.int64)  # position in SPLITS of each group
    if given is not None:
        placed = np.array([given[members].max() for members in groups], dtype=np.int64)
    has = [bool((placed == part).any()) for part in range(len(SPLITS))]
    fractions = {1: 0.0 if has[1] else plan.val_fraction, 2: 0.0 if has[2] else plan.test_fraction}
    for kind, name in enumerate(classes):
        pool = np.flatnonzero((kinds == kind) & (placed == 0))
        _require(len(pool), fractions=fractions, name=name, where=where)
        order = np.random.default_rng(np.random.SeedSequence([plan.seed, kind])).permutation(pool)
        start = 0
        for part, count in _counts(len(pool), fractions).items():
            placed[order[start : start + count]] = part
            start += count
    parts: list[list[int]] = [[], [], []]
    for members, part in zip(groups, placed.tolist(), strict=True):
        same = members if given is None else members[given[members] == given[members].max()]
        parts[part].extend(same[:1] if plan.dedupe else same)
    train, val, test = (np.sort(np.asarray(part, dtype=np.int64)) for part in parts)
    duplicates = len(usable) - len(train) - len(val) - len(test)
    if duplicates:
        log.info("%s: %d of %d samples are copies, left out", where, duplicates, len(usable))
    train = _limit(train, labels=labels, plan=plan)
    return Splits(train=train, val=val, test=test, duplicates=duplicates)


def _group(digests: Sequence[bytes], usable: IntArray) -> list[IntArray]:
    """Positions with the same content, ordered by that content."""
    found: dict[bytes, list[int]] = {}
    for index in usable.tolist():
        found.setdefault(digests[index], []).append(index)
    return [np.asarray(found[key], dtype=np.int64) for key in sorted(found)]


def _report_conflicts(
    groups: Sequence[IntArray], labels: IntArray, *, classes: Sequence[str], where: str
) -> None:
    conflicts = [members for members in groups if len(set(labels[members].tolist())) > 1]
    if conflicts:
        example = sorted({classes[label] for label in labels[conflicts[0]].tolist()})
        log.warning(
            "%s: %d samples appear under several classes (one under %s)",
            where,
            len(conflicts),
            ", ".join(example),
        )


def _require(available: int, *, fractions: dict[int, float], name: str, where: str) -> None:
    wanted = ["train"] + [SPLITS[part] for part, fraction in fractions.items() if fraction > 0]
    if available < len(wanted):
        raise DataError(
            f"{where}: class {name!r} has {available} different samples left for "
            f"{' + '.join(wanted)}, which need at least {len(wanted)}",
            field="data.root",
            remedy="add samples of this class or remove it; data.val_fraction=0 or "
            "data.test_fraction=0 asks for fewer splits",
        )


def _counts(size: int, fractions: dict[int, float]) -> dict[int, int]:
    """Nearest whole numbers, but at least one where anything is asked for and one to train on."""
    counts = {
        part: max(1, int(size * fraction + 0.5)) if fraction > 0 else 0
        for part, fraction in fractions.items()
    }
    while sum(counts.values()) >= size:
        counts[max(counts, key=lambda part: counts[part])] -= 1
    return counts


def _limit(train: IntArray, *, labels: IntArray, plan: SplitPlan) -> IntArray:
    if plan.limit is None or plan.limit >= len(train):
        return train
    rng = np.random.default_rng(np.random.SeedSequence([plan.seed, len(train)]))
    order = rng.permutation(train)
    kinds = labels[order]
    rank = np.empty(len(order))  # how far through its own class each sample stands, 0 to 1
    for kind in np.unique(kinds):
        own = np.flatnonzero(kinds == kind)
        rank[own] = np.arange(len(own)) / len(own)
    chosen = order[np.argsort(rank, kind="stable")[: plan.limit]]
    return np.sort(chosen)
