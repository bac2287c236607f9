"""Structured logs on standard error, as text or as JSON."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable
from math import inf

import structlog

from latentwatch.stream.settings import Settings

__all__ = ["OnceInAWhile", "configure_logs"]

OURS = "latentwatch"

QUIET_SECONDS = 10.0
"""aiokafka logs every attempt to reach a broker that is down: a hundred lines per second."""

MOST_TEMPLATES = 1_000
"""Most kinds of messages to count separately; libraries have fewer log calls than this."""


class OnceInAWhile(logging.Filter):
    """Lets each kind of library message through once in ten seconds, with a count of the others.

    Messages of one kind have the same logger, level and template. Our own events always pass.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        # for each kind: when it last passed, and how many were hidden since
        self._let_through: dict[tuple[str, int, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record passes; it then says how many like it were hidden."""
        if record.name.partition(".")[0] == OURS:
            return True
        kind, now = (record.name, record.levelno, str(record.msg)), self._clock()
        last, hidden = self._let_through.get(kind, (-inf, 0))
        if now - last < QUIET_SECONDS:
            self._let_through[kind] = last, hidden + 1
            return False
        if len(self._let_through) >= MOST_TEMPLATES:
            self._let_through.clear()
        self._let_through[kind] = now, 0
        if hidden:
            record.msg, record.args = f"{record.getMessage()} (and {hidden:,} more like it)", ()
        return True


def configure_logs(settings: Settings) -> None:
    """Format our events and those of Faust and aiokafka alike."""
    shared: list[structlog.types.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    renderer: structlog.types.Processor = (
        structlog.processors.JSONRenderer()
        if settings.log_format == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(OnceInAWhile())
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger(OURS).setLevel(settings.log_level)
