"""What is measured of a model, and the files that keep it."""
