"""How long to wait before the next try."""

from __future__ import annotations

import random


class Backoff:
    """0.25 s, doubled with each failure up to 15 s, and of that a random part between a half and all."""

    def __init__(self, first_s: float = 0.25, longest_s: float = 15.0) -> None:
        self._first, self._longest, self._failures = first_s, longest_s, 0

    def next_s(self) -> float:
        """Seconds to wait after one more failure."""
        whole = min(self._longest, self._first * 2.0 ** min(self._failures, 16))
        self._failures += 1
        return whole * (0.5 + random.random() / 2)

    def reset(self) -> None:
        """Something worked."""
        self._failures = 0
