"""What the modules of an OPA server read: the ground on which its answers may be cached."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.policy.bundle import Bundle
from gateway.policy.files import Files
from gateway.policy.findings import PolicyInvalid
from gateway.policy.reads import Reads


class Unknowable(Exception):
    """The server's answers cannot be cached exactly. The text says why."""


def reads_of_server(modules: Mapping[str, str]) -> Reads:
    """The input paths that ``modules`` read, after the same lint and trial that a policy of ours passes. Blocking.

    Raises: Unknowable when one of them leaves the portable profile, or reads what cannot be told.
    """
    tested = {name: text for name, text in modules.items() if name.endswith("_test.rego")}
    try:
        bundle = Bundle.checked(Files(modules={name: modules[name] for name in modules.keys() - tested.keys()}))
    except PolicyInvalid as invalid:
        raise Unknowable(f"its modules leave the portable profile: {invalid}") from invalid
    if bundle.reads is None:
        raise Unknowable("it cannot be told what its modules read")
    return bundle.reads
