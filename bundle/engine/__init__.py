"""Engines: a variant of a model, loaded and ready to answer."""
