"""A run in several processes: started, watched, started anew, ended together."""
