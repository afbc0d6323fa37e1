"""The contract between the rooms: what a model is, how it is proved, fed, run and registered."""
