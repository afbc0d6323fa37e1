"""Pictures of a run: each is a figure that is saved as a PNG and set into the report as SVG."""
