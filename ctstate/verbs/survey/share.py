"""Of which captures every image is asked for: all, a sample, a part of several, or only where there is a doubt."""

import random
import re
from typing import Self

from ctstate.errors import UsageError


class Share:
    """A share of the captures.

    Args:
        name: as it is written down: `5%`, `3/7`, `doubtful`; None: all.
        portion: of a sample, 0 to 1; chosen anew each time.
        part, parts: this one of so many, from 1, by the captures' keys: all parts together are all captures.
    """

    def __init__(self, name: str | None, *, portion: float = 1.0, part: int = 1, parts: int = 1) -> None:
        self.name = name
        self._portion, self._part, self._parts = portion, part, parts

    @classmethod
    def sample(cls, text: str) -> Self:
        """Return a sample of so many per cent, such as `5%`.

        Raises:
            UsageError: it is no such text, or not above 0 and at most 100.
        """
        found = re.fullmatch(r"([0-9]{1,3}(?:\.[0-9]{1,6})?) *%", text.strip())
        percent = float(found[1]) if found is not None else 0.0
        if not 0.0 < percent <= 100.0:
            raise UsageError(f"--sample {text!r} is no share: write it such as 5%, above 0 and at most 100")
        return cls(text.strip(), portion=percent / 100)

    @classmethod
    def one_of(cls, text: str) -> Self:
        """Return one part of several, such as `3/7`.

        Raises:
            UsageError: it is no such text, or there is no such part.
        """
        found = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", text.strip())
        part, parts = (int(found[1]), int(found[2])) if found is not None else (0, 0)
        if not 1 <= part <= parts:
            raise UsageError(f"--part {text!r} is no part: write it such as 3/7, the third of seven")
        return cls(text.strip(), part=part, parts=parts)

    def covers(self, capture_key: int) -> bool:
        """Tell whether a capture is in it."""
        if capture_key % self._parts != self._part - 1 or not self._portion:
            return False
        return self._portion >= 1.0 or random.random() < self._portion


ALL = Share(None)
DOUBTFUL = Share("doubtful", portion=0.0)
"""None but those whose state in the ledger leaves a doubt; these are asked for always."""
