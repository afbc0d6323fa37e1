"""How fast a run gets on, and what it takes of its machine."""
