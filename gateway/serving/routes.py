"""From a model as asked for to exactly one version. Pure: tables built from what is ready, and the words
for what is not found."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from gateway.errors import GatewayError, InvalidInput, ModelNotFound, ModelUnavailable, ModelUnserved
from gateway.types import ModelFacts, ModelRef

LABEL = re.compile(r"[A-Za-z0-9_]*[A-Za-z_][A-Za-z0-9_]*")
"""A version label: not all digits, so it can never be taken for a version."""

Labels = Mapping[str, str]


def table(ready: Iterable[ModelFacts], labels: Labels) -> dict[ModelRef, ModelFacts]:
    """How one model may be asked for: every ready version by number, the newest by "", labels by name.

    A label that points at a version that is not ready is left out.
    """
    by_version = {facts.id.version: facts for facts in ready}
    found: dict[ModelRef, ModelFacts] = {}
    for version, facts in by_version.items():
        found[ModelRef(facts.id.name, version)] = facts
    for label, version in labels.items():
        if version in by_version:
            found[ModelRef(by_version[version].id.name, label)] = by_version[version]
    if by_version:
        newest = by_version[max(by_version, key=int)]
        found[ModelRef(newest.id.name, "")] = newest
    return found


def refusal(ref: ModelRef, versions: Iterable[str] | None, labels: Labels, unserved: str = "") -> GatewayError:
    """Why ``ref`` is not in the table. ``versions`` are all that are known of the model, ready or not;
    None when the model is unknown. ``unserved`` says why no model of its kind is served here."""
    unknown = f"Request for unknown model: '{ref.name}'"
    if unserved:
        return ModelUnserved(f"model '{ref.name}' cannot be served: {unserved}")
    if ref.version and not ref.version.isdecimal() and ref.version not in labels:
        return InvalidInput(f"version '{ref.version}' of model '{ref.name}' is neither a number nor one of its labels")
    if versions is None:
        return ModelNotFound(f"{unknown} is not found")
    if not ref.version:
        return ModelNotFound(f"{unknown} has no available versions")
    if ref.version in labels or ref.version in set(versions):
        return ModelUnavailable(f"{unknown} version {ref.version} is not at ready state")
    return ModelNotFound(f"{unknown} version {ref.version} is not found")
