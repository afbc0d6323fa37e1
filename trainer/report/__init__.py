"""The report of a run: one HTML page, made from what lies in the run folder alone."""
