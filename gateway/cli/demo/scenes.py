"""The tour: who asks what, how it must end, and what that means. Inputs are held-out rows of real data."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import RenderableType

from gateway.cli.demo import meaning
from gateway.cli.demo.client import Array, Outcome, request
from gateway.v1.inference import ModelInferRequest


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody with an API key."""

    id: str
    tenant: str


SCREENING = Caller("screening-app", "clinic")
FRONT_DESK = Caller("front-desk", "clinic")
READER = Caller("post-reader", "research")
VISITOR = Caller("visitor", "guest")
CALLERS = (SCREENING, FRONT_DESK, READER, VISITOR)


@dataclass(frozen=True, slots=True)
class Scene:
    """One call. ``must`` is the status it has to end with; ``why`` says what in policy or model makes it so."""

    title: str
    caller: Caller | None
    message: ModelInferRequest
    must: str
    why: str
    truth: str = ""
    picture: Array | None = None

    def meaning(self, outcome: Outcome) -> RenderableType:
        """What the answer says to a human, with the truth beside it."""
        return meaning.of(self.message.model_name, outcome, self.truth, self.picture)


class Rows:
    """Held-out rows from ``examples/data``: truth and fields, by model."""

    def __init__(self, data: Path) -> None:
        self._data = data

    def read(self, model: str) -> list[tuple[str, list[str]]]:
        """All rows of ``model``. Raises: OSError."""
        with (self._data / f"{model}.csv").open(newline="", encoding="utf-8") as file:
            return [(row[0], row[1:]) for row in list(csv.reader(file))[1:]]

    def first(self, model: str, truth: str) -> list[str]:
        """The first row of ``model`` whose truth is ``truth``."""
        return next(fields for found, fields in self.read(model) if found == truth)


def scenes(data: Path) -> list[Scene]:
    """The tour over the rows in ``data``. Raises: OSError when a file of rows cannot be read."""
    rows = Rows(data)
    biopsy = request("breast-cancer", "features", np.array([rows.first("breast-cancer", "malignant")], np.float32))
    digit = np.array(rows.first("digits", "8"), np.float32).reshape(1, 8, 8)
    return [*_answered(rows, biopsy, digit), *_denied(rows, biopsy), *_refused(digit)]


def _answered(rows: Rows, biopsy: ModelInferRequest, digit: Array) -> Iterator[Scene]:
    who = "screening-app is a clinician of the clinic"
    yield Scene("one biopsy", SCREENING, biopsy, "OK", who, "malignant")

    masked = "not a clinician: the obligation mask_outputs zeroes the sensitive output `probabilities`"
    yield Scene("the same biopsy", FRONT_DESK, biopsy, "OK", masked, "malignant")

    progression, measured = rows.read("diabetes")[1]
    patient = request("diabetes", "measurements", np.array([measured], np.float32))
    yield Scene("a patient's measurements", SCREENING, patient, "OK", "the clinic may use diabetes", progression)

    image = request("digits", "image", digit)
    yield Scene("an image", READER, image, "OK", "research may use digits and sentiment", "8", digit[0])

    sentence = rows.first("sentiment", "negative")
    text = request("sentiment", "text", np.array([sentence]))
    yield Scene(f"{sentence[0]!r}", READER, text, "OK", "strings in, strings out", "negative")


def _denied(rows: Rows, biopsy: ModelInferRequest) -> Iterator[Scene]:
    tenant = "tenants.research.models in policies/data.json does not name breast-cancer"
    yield Scene("a biopsy", READER, biopsy, "PERMISSION_DENIED", tenant)

    day = np.array([fields for _, fields in rows.read("breast-cancer")[:40]], np.float32)
    batch = "tenants.clinic.max_batch in policies/data.json is 32"
    many = request("breast-cancer", "features", day)
    yield Scene("40 biopsies at once", SCREENING, many, "PERMISSION_DENIED", batch)

    page = np.array([fields for _, fields in rows.read("digits")[:9]], np.float32).reshape(-1, 8, 8)
    limit = "allowed, but with the obligation limit of 8 rows, which the gateway holds"
    yield Scene("9 images at once", VISITOR, request("digits", "image", page), "PERMISSION_DENIED", limit)


def _refused(digit: Array) -> Iterator[Scene]:
    nobody = "no identity, nothing to decide about; the attempt is recorded all the same"
    yield Scene("an image", None, request("digits", "image", digit), "UNAUTHENTICATED", nobody)

    unknown = request("credit-scoring", "features", digit)
    yield Scene("an applicant", READER, unknown, "NOT_FOUND", "no such model; `gateway models` lists what is served")

    flat = request("digits", "image", digit.reshape(1, 64))
    shape = "the policy allowed the call, the model's signature refuses the tensor"
    yield Scene("an image sent as one row", READER, flat, "INVALID_ARGUMENT", shape)
