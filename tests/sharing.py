"""Which tests share a process of pytest-xdist's, so that what they need is made once."""

from __future__ import annotations

from xdist.scheduler import LoadScopeScheduling

GROUPS = {
    "test_variants.py": "exported bundles",
    "test_export.py": "exported bundles",
    "test_absent_server.py": "MLflow server",
    "test_registry_over_http.py": "MLflow server",
    "test_registry_server.py": "MLflow server",
    "test_property_09_quantized_formats.py": "optimized graphs",
    "test_property_12_size.py": "optimized graphs",
    "test_property_13_latency.py": "measured server",
    "test_property_14_batches.py": "measured server",
    "test_property_16_every_request.py": "measured server",
    "test_property_18_throughput.py": "measured server",
    "test_property_19_errors.py": "measured server",
}


class Sharing(LoadScopeScheduling):
    """A file's tests stay together, and so do those of files that use the same thing.

    `--dist loadgroup` of pytest-xdist 3.8 does nothing with pytest 9.2.
    """

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.split("::", 1)[0]
        return GROUPS.get(file.rsplit("/", 1)[-1], file)
