"""How a run is asked to stop: by a signal, by `ctstate stop`, or by what it meets."""

from ctstate.machine import machine
from ctstate.zooniverse import Patience


class StopSignal(Patience):
    """Set once; threads that wait for Zooniverse wake up at once and give their captures back."""

    def __init__(self) -> None:
        self._event = machine().event()
        self.reason = ""

    def request(self, reason: str) -> None:
        """Ask to stop cleanly; the first reason stays."""
        if not self._event.is_set():
            self.reason = reason
            self._event.set()

    @property
    def requested(self) -> bool:
        """Whether somebody asked to stop."""
        return self._event.is_set()

    def wait(self, seconds: float) -> bool:
        """Wait so long; return True at once when asked to stop."""
        return self._event.wait(seconds)
