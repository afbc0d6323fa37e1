"""Log lines: one JSON object a line, on stderr."""

from __future__ import annotations

import logging
import os
import sys
import time

import orjson

OWN = "serving"
"""The loggers whose level is the operator's to choose; of libraries only warnings are shown."""
AUDIT = "serving.audit"
"""Who changed what: shown at every level."""
ABOUT_CLIENTS = ("python_multipart", "uvicorn.error")
"""Libraries that warn of what clients send, which is answered to them and counted."""
WITH_HANDLERS = ("litserve", "mlflow")
"""Libraries that print by themselves when they are imported."""
MLFLOW_LOGGING = "MLFLOW_CONFIGURE_LOGGING"
"""MLflow's variable for that; it may be imported later."""
ABOUT_ERRORS = ("mlflow.store.db.utils",)
"""Print the traceback of what they raise, which is told by whoever has asked."""


class JsonLines(logging.Formatter):
    """`log.info("what happened", extra={"fields": {...}})`."""

    def format(self, record: logging.LogRecord) -> str:
        """Time, level, what happened, then the fields."""
        line: dict[str, object] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
            + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return orjson.dumps(line, default=str).decode()


def configure_logging(level: str) -> None:
    """For this process."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger(OWN).setLevel(level.upper())
    logging.getLogger(AUDIT).setLevel(logging.INFO)
    for name in ABOUT_CLIENTS:
        logging.getLogger(name).setLevel(logging.ERROR)
    for name in ABOUT_ERRORS:
        logging.getLogger(name).disabled = True
    os.environ.setdefault(MLFLOW_LOGGING, "false")
    for name in WITH_HANDLERS:
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
        logger.setLevel(logging.WARNING)
