"""Grafana dashboards as code; see `__main__.py`."""
