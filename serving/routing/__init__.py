"""Which versions are held and which of them answers, as the registry wants it."""
