"""What /metrics said, read by Prometheus's own parser."""

from __future__ import annotations

from collections import Counter

from prometheus_client.parser import text_string_to_metric_families


class Scrape:
    """One answer of /metrics."""

    def __init__(self, text: str) -> None:
        self.types: dict[str, str] = {}
        self._samples: list[tuple[str, dict[str, str], float]] = []
        for family in text_string_to_metric_families(text):
            self.types[family.name] = family.type
            self._samples += [(s.name, s.labels, float(s.value)) for s in family.samples]

    def total(self, name: str, **labels: str) -> float:
        """The sum of the samples of that name that have these labels."""
        return sum(
            value
            for found, others, value in self._samples
            if found == name and labels.items() <= others.items()
        )

    def by(self, name: str, *labels: str) -> Counter[tuple[str, ...]]:
        """The samples of that name, added up by these labels; zeroes are left out."""
        found: Counter[tuple[str, ...]] = Counter()
        for sample, others, value in self._samples:
            if sample == name and value:
                found[tuple(others.get(label, "") for label in labels)] += value
        return found
