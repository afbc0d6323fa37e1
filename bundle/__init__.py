"""The contract between the rooms: what a model is, how it is proved, fed, run and registered."""

import os

# Both libraries report to their makers what they are used for, unless these are set by the time
# they are imported. Whoever wants that can say so in the environment.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
