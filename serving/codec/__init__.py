"""From bodies to samples, and from predictions to bodies."""
