"""The contract between the rooms: what a model is, how it is proved, prepared for, run and registered."""
