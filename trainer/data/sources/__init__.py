"""Where raw samples come from, one source a file; none of them decodes, splits or shuffles."""
