"""What one input or output of a model looks like from outside."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One input or output as callers see it.

    ``shape`` has the batch dimension where the model batches; -1 is free. ``reshape`` (also with the batch
    dimension) is what the graph sees in its place, None when that is the same. ``scalar`` means that callers may
    also write one more dimension of size 1, as Triton's clients must for what has no dimension of its own.
    ``labels`` name an output's classes.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    optional: bool = False
    reshape: tuple[int, ...] | None = None
    scalar: bool = False
    labels: tuple[str, ...] = ()

    def accepts(self, shape: tuple[int, ...]) -> bool:
        """Whether an input may come in ``shape``."""
        return fits(self.shape, shape) or (self.scalar and fits((*self.shape, 1), shape))

    def inside(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape that the graph gets for an input accepted in ``shape``."""
        if self.reshape is not None:
            return refill(self.reshape, self.shape, shape)
        return shape[: len(self.shape)]

    def outside(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape that callers see for an output that the graph gives in ``shape``."""
        if self.reshape is not None and fits(self.reshape, shape):
            return refill(self.shape, self.reshape, shape)
        return shape


def fits(expected: tuple[int, ...], got: tuple[int, ...]) -> bool:
    """Whether a concrete shape satisfies one with free (-1) dimensions; a negative size never does."""
    if len(expected) != len(got):
        return False
    for want, have in zip(expected, got, strict=True):  # noqa: SIM110  a generator costs 0.4 us a tensor
        if want != have if want >= 0 else have < 0:
            return False
    return True


def refill(pattern: tuple[int, ...], expected: tuple[int, ...], got: tuple[int, ...]) -> tuple[int, ...]:
    """``pattern`` with its free entries taken, in order, from where ``expected`` is free in ``got``."""
    free = iter([have for want, have in zip(expected, got, strict=True) if want == -1])
    return tuple(next(free) if want == -1 else want for want in pattern)
