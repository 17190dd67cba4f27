"""What the core and the services log, passed on to whoever shows it."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

SOURCES = ("tvae_core", "tasks.services")


class _Forward(logging.Handler):
    def __init__(self, say: Callable[[str], None]) -> None:
        super().__init__(logging.INFO)
        self._say = say

    def emit(self, record: logging.LogRecord) -> None:
        """Pass the message on."""
        self._say(record.getMessage())


@contextmanager
def forward_messages(say: Callable[[str], None]) -> Iterator[None]:
    """Inside the block, call `say` with every message of the core and the services, from INFO on."""
    handler = _Forward(say)
    loggers = [logging.getLogger(name) for name in SOURCES]
    before = [(logger.level, logger.propagate) for logger in loggers]
    for logger in loggers:
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        logger.propagate = False  # said once, by `say`
    try:
        yield
    finally:
        for logger, (level, propagate) in zip(loggers, before, strict=True):
            logger.removeHandler(handler)
            logger.setLevel(level)
            logger.propagate = propagate
