"""From verified bundles to answered requests: `serve.py` starts what lies here."""
