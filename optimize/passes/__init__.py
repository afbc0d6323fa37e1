"""The steps that turn one form of a model into the next; one pass a file, each a pure function."""
