"""A circuit breaker: stops asking a dependency that does not answer.

After `threshold` failures in a row it opens, and calls fail at once instead of each waiting for
a timeout. After `pause` seconds one call is let through to probe: if it succeeds the breaker
closes, else it stays open for another pause.
"""

import random
import time
from collections.abc import Callable


class CircuitBreaker:
    def __init__(
        self,
        *,
        threshold: int = 3,
        pause: float = 2.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._threshold = threshold
        self._pause = pause
        self._clock = clock
        self._failures = 0
        self._probe_at = 0.0

    @property
    def is_open(self) -> bool:
        return self._failures >= self._threshold

    def allows_call(self) -> bool:
        """Whether to try now. While open, a True makes the caller the one probe of this pause."""
        if not self.is_open:
            return True
        if self._clock() < self._probe_at:
            return False
        self._wait_for_next_probe()
        return True

    def succeeded(self) -> None:
        self._failures = 0

    def failed(self) -> None:
        self._failures += 1
        self._wait_for_next_probe()

    def _wait_for_next_probe(self) -> None:
        # Jitter, so that replicas do not come back in step.
        jitter = random.uniform(0.8, 1.2)  # noqa: S311  # nosec B311: not a secret
        self._probe_at = self._clock() + self._pause * jitter
