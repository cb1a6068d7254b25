"""What an answer says to a human."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

import numpy as np
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from gateway.cli.demo.client import Array, Outcome

Outputs: TypeAlias = Mapping[str, Array]

INK = " ░▒▓█"
BRIGHTEST = 16.0


def of(model: str, outcome: Outcome, truth: str, picture: Array | None) -> RenderableType:
    """The answer in words, the truth beside it, and the picture that was sent, if one was."""
    if not outcome.outputs:
        return Text(outcome.detail)
    said = Text(_WORDS[model](outcome.outputs), style="bold")
    if truth:
        said.append(f"   in truth: {truth}", style="not bold dim")
    if picture is None:
        return said
    grid = Table.grid(padding=(0, 2))
    grid.add_row(drawing(picture), said)
    return grid


def drawing(image: Array) -> Text:
    """Grey values from 0 to 16 as blocks, two columns a pixel."""
    shades = np.clip(np.asarray(image, np.float64) / BRIGHTEST * (len(INK) - 1), 0, len(INK) - 1).round().astype(int)
    return Text("\n".join("".join(INK[shade] * 2 for shade in row) for row in shades), style="cyan")


def _breast_cancer(outputs: Outputs) -> str:
    label = "malignant" if int(outputs["label"].flat[0]) == 0 else "benign"
    return f"{label}, {_percent(outputs['probabilities'])}"


def _digits(outputs: Outputs) -> str:
    return f"{int(outputs['digit'].flat[0])}, {_percent(outputs['probabilities'])}"


def _diabetes(outputs: Outputs) -> str:
    return f"progression {float(outputs['progression'].flat[0]):.0f} in a year"


def _sentiment(outputs: Outputs) -> str:
    return f"{outputs['label'].flat[0]}, {_percent(outputs['probabilities'])}"


def _percent(probabilities: Array) -> str:
    highest = float(np.max(np.asarray(probabilities, np.float64)))
    return f"{highest:.1%}" if highest else "probability masked (zeros)"


_WORDS: Mapping[str, Callable[[Outputs], str]] = {
    "breast-cancer": _breast_cancer,
    "digits": _digits,
    "diabetes": _diabetes,
    "sentiment": _sentiment,
}
