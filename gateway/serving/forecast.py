"""How long a call would wait for a model that is busy, from how long its runs take. Pure."""

from __future__ import annotations

_NEWEST = 0.3  # weight of the newest run
_MOST = 4  # times the mean that one run may count for: a stall of the machine is not the model's pace


class Forecast:
    """The mean of the last runs' times, from the moment a batch was handed over until its answers were back."""

    __slots__ = ("run_ns",)

    def __init__(self) -> None:
        self.run_ns = 0.0
        """What one run takes; 0 before the first."""

    def note(self, ns: int) -> None:
        """A run took ``ns``."""
        if not self.run_ns:
            self.run_ns = float(ns)
        else:
            self.run_ns += _NEWEST * (min(ns, _MOST * self.run_ns) - self.run_ns)

    def wait_ns(self, runs_ahead: float, instances: int) -> float:
        """How long until a call starts while all ``instances`` are busy, half way through on average, and
        ``runs_ahead`` runs go before it."""
        return self.run_ns * (runs_ahead / instances + 0.5)
