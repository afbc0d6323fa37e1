"""A study: many runs of one config, whose varied fields a sampler chooses; it outlives a kill."""
