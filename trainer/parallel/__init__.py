"""Several processes that compute one step: how they share it, and what they agree on."""
