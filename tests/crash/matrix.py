"""What met what: steps by accidents, counted."""

import threading
from collections import Counter


class Matrix:
    """How often each accident met each step; may be asked and told by several threads.

    Args:
        steps, accidents: all that there are, so that what never met is seen.
        impossible: pairs that cannot meet.
    """

    def __init__(
        self, steps: tuple[str, ...], accidents: tuple[str, ...], impossible: set[tuple[str, str]]
    ) -> None:
        self.steps, self.accidents, self.impossible = steps, accidents, impossible
        self._met: Counter[tuple[str, str]] = Counter()
        self._lock = threading.Lock()

    def meet(self, step: str, accident: str) -> None:
        """Count it."""
        with self._lock:
            self._met[step, accident] += 1

    def met(self, step: str, accident: str) -> int:
        """How often the two met."""
        return self._met[step, accident]

    def empty(self) -> list[tuple[str, str]]:
        """Those that never met, and can."""
        every = ((step, kind) for step in self.steps for kind in self.accidents)
        return [pair for pair in every if not self._met[pair] and pair not in self.impossible]

    def __str__(self) -> str:
        width = max(map(len, self.steps))
        head = " " * width + "".join(f"{number:>6}" for number in range(1, len(self.accidents) + 1))
        rows = [
            f"{step:<{width}}" + "".join(f"{self._met[step, kind] or '':>6}" for kind in self.accidents)
            for step in self.steps
        ]
        return "\n".join([head, *rows, *(f"{n:>3} {kind}" for n, kind in enumerate(self.accidents, start=1))])
