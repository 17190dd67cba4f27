"""How long a store that does not answer is waited for."""

import logging
import os
import random
import time
from collections.abc import Callable

from tasks.services.store import StoreError

VARIABLE = "TVAE_STORE_PATIENCE"
SECONDS = 60.0  # a server's restart, or a short outage of its network
_LONGEST_PAUSE = 4.0  # seconds: an endpoint that comes back is found soon
logger = logging.getLogger(__name__)


def patience_seconds() -> float:
    """Seconds that an unavailable store is waited for: ``TVAE_STORE_PATIENCE``, or the default.

    Raises StoreError when the variable holds no number of seconds.
    """
    text = os.environ.get(VARIABLE, "")
    try:
        seconds = float(text) if text else SECONDS
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= 86_400:
        raise StoreError(f"{VARIABLE} must be a number of seconds, 0 to 86400, such as 60; got {text!r}")
    return seconds


class Patience:
    """Pauses between the attempts of one request, ever longer, until the store was away for too long."""

    def __init__(
        self,
        seconds: float | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._seconds = patience_seconds() if seconds is None else seconds
        self._clock, self._sleep = clock, sleep
        self._begun = clock()
        self._attempts = 0

    def wait(self, what: str) -> bool:
        """Pause before another attempt; False, at once, when there was waiting enough. `what` names the store."""
        self._attempts += 1
        # Random, so that the workers of a whole site don't come back in step.
        pause = random.uniform(0.5, 1.0) * min(_LONGEST_PAUSE, 2.0 ** (self._attempts - 1))
        left = self._seconds - (self._clock() - self._begun)
        if left <= 0:
            return False
        if self._attempts == 1:
            logger.warning("%s is not available: waiting for it, at most %.0f s (%s)", what, left, VARIABLE)
        self._sleep(min(pause, left))
        return True
