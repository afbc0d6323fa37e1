"""Checkpoints: written whole, verified before they are read, and where a run goes on from."""
