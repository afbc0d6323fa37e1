"""From a checkpoint to a bundle that proves what it claims: export, verify, optimize, judge."""
