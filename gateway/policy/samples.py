"""Complete input documents, one for each action group: what a policy is tried on before it meets a caller."""

from __future__ import annotations

import copy
from collections.abc import Iterator

from gateway.policy.input import Document
from gateway.policy.schema import OPEN_MAPS

ACTIONS = (
    ("health", "server_live", "ServerLive"),
    ("metadata", "model_metadata", "ModelMetadata"),
    ("inference", "infer", "ModelInfer"),
    ("shared-memory", "system_register", "SystemSharedMemoryRegister"),
    ("model-config", "get", "ModelConfig"),
    ("model-repository", "load", "RepositoryModelLoad"),
    ("statistics", "get", "ModelStatistics"),
    ("trace", "update", "TraceSetting"),
    ("logging", "update", "LogSettings"),
)

_ACTION: Document = {
    "group": "inference",
    "name": "infer",
    "service": "inference.GRPCInferenceService",
    "method": "ModelInfer",
    "writes": False,
    "stream": False,
    "stream_seq": 0,
}
_INFER: Document = {
    "v": 1,
    "subject": {
        "id": "someone",
        "type": "service",
        "tenant": "some-tenant",
        "groups": ["some-group"],
        "auth": "api_key",
        "issuer": "",
        "key_id": "abcd",
        "spiffe_id": "",
        "claims": {},
    },
    "action": _ACTION,
    "model": {
        "name": "some-model",
        "version": "1",
        "digest": "sha256:00",
        "known": True,
        "requested_name": "some-model",
        "requested_version": "",
        "labels": {},
        "owner": "",
        "stage": "",
        "classification": "",
    },
    "request": {
        "id": "",
        "peer_ip": "192.0.2.1",
        "peer_kind": "tcp",
        "metadata": {},
        "params": {},
        "deadline_ms": 1000,
        "size_bytes": 1016,
        "priority": 0,
        "time": {"unix_s": 1795000000, "date": "2026-11-18", "hour_utc": 11, "weekday": 3},
    },
    "tensors": {
        "count": 1,
        "batch": 8,
        "total_bytes": 960,
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [8, 30], "bytes": 960, "source": "raw"}],
        "outputs": [],
    },
    "shared_memory": {
        "kind": "none",
        "region": "",
        "key": "",
        "offset": 0,
        "byte_size": 0,
        "device_id": 0,
        "all": False,
    },
    "repository": {
        "model": "",
        "ready_only": False,
        "unload_dependents": False,
        "config_override": False,
        "file_overrides": [],
    },
    "settings": {"scope": "none", "writes": {}},
    "gateway": {"instance": "gw-1", "region": "", "env": "", "version": ""},
}


def samples() -> Iterator[Document]:
    """One document for each action group."""
    for group, name, method in ACTIONS:
        yield sample(group, name, method)


def laden() -> Document:
    """An inference with something in every open map: only that tells whether a policy reads there."""
    document = sample()
    for section, name in OPEN_MAPS:
        entries: Document = {"role": "r", "roles": {"role": ["r"]}} if name == "claims" else {"role": "r"}
        document[section] = {**document[section], name: entries}  # type: ignore[dict-item]  # a section is a dict
    return document


def sample(group: str = "inference", name: str = "infer", method: str = "ModelInfer") -> Document:
    """A complete document with a value in every field."""
    document = copy.deepcopy(_INFER)
    writes = name in ("load", "update", "system_register")
    document["action"] = {
        **_ACTION,
        "group": group,
        "name": name,
        "method": method,
        "writes": writes,
    }
    return document
