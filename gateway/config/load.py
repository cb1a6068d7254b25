"""Reading the configuration: file, environment and flags become one checked tree, or one clear error."""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from gateway.config.keys import Key, keys
from gateway.config.tree import Config

_NOT_OURS = re.compile(r"GATEWAY_(KEY|URL|SERVICE_HOST|SERVICE_PORT.*|PORT|PORT_\d+_.*)")
"""Variables with our prefix that are no configuration: the client's, and what Kubernetes sets for a
service named "gateway"."""


class ConfigError(Exception):
    """The configuration cannot be used. The text has a line for each thing that is wrong."""


def load(
    file: Path | None = None,
    flags: Mapping[str, object] | None = None,
    environment: Mapping[str, str] | None = None,
) -> Config:
    """The configuration from ``file`` (TOML), the environment and ``flags`` (dotted names), the later ones winning.

    Raises: ConfigError naming every bad or unknown key, what came, and the nearest known key.
    """
    config, _ = load_with_origins(file, flags, environment)
    return config


def load_with_origins(
    file: Path | None = None,
    flags: Mapping[str, object] | None = None,
    environment: Mapping[str, str] | None = None,
) -> tuple[Config, dict[str, str]]:
    """Like ``load``, with the origin of every key: ``default``, the file's name, the variable or the flag."""
    environment = os.environ if environment is None else environment
    by_name = {key.name: key for key in keys()}
    origins = dict.fromkeys(by_name, "default")
    tree: dict[str, Any] = {}
    if file is not None:
        from_file = _read(file)
        _check_file(from_file, (), by_name, file)
        for name, value in _flatten(from_file, by_name):
            _put(tree, by_name[name], value)
            origins[name] = str(file)
    for key in by_name.values():
        if key.variable in environment:
            _put(tree, key, environment[key.variable])
            origins[key.name] = key.variable
    _check_environment(environment, by_name)
    for name, value in (flags or {}).items():
        _put(tree, by_name[name], value)
        origins[name] = by_name[name].flag
    try:
        return Config(**tree), origins
    except ValidationError as error:
        raise ConfigError("\n".join(_explain(error, by_name, origins))) from None


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(f"config file {file} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"config file {file} is not valid TOML: {error}") from error


def _check_file(tree: Mapping[str, Any], path: tuple[str, ...], known: Mapping[str, Key], file: Path) -> None:
    for name, value in tree.items():
        dotted = ".".join((*path, name))
        if dotted in known:
            continue
        if any(k.startswith(dotted + ".") for k in known) and isinstance(value, dict):
            _check_file(value, (*path, name), known, file)
            continue
        raise ConfigError(f"{file}: unknown key '{dotted}'{_nearest(dotted, known)}")


def _flatten(tree: Mapping[str, Any], known: Mapping[str, Key], prefix: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for name, value in tree.items():
        dotted = prefix + name
        found += [(dotted, value)] if dotted in known else _flatten(value, known, dotted + ".")
    return found


def _put(tree: dict[str, Any], key: Key, value: object) -> None:
    for part in key.path[:-1]:
        tree = tree.setdefault(part, {})
    if key.is_list and isinstance(value, str):
        value = [part.strip() for part in value.split(",") if part.strip()]
    tree[key.path[-1]] = value


def _check_environment(environment: Mapping[str, str], known: Mapping[str, Key]) -> None:
    variables = {key.variable: key for key in known.values()}
    for name in environment:
        if name.startswith("GATEWAY_") and name not in variables and not _NOT_OURS.fullmatch(name):
            raise ConfigError(f"environment: unknown variable '{name}'{_nearest(name, variables)}")


def _nearest(name: str, known: Mapping[str, object]) -> str:
    by_tail = [k for k in known if k.rsplit(".", 1)[-1] == name.rsplit(".", 1)[-1]]
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5) or by_tail[:1]
    return f"; the nearest known one is '{close[0]}'" if close else ""


def _explain(error: ValidationError, known: Mapping[str, Key], origins: Mapping[str, str]) -> list[str]:
    lines: list[str] = []
    for problem in error.errors(include_url=False):
        parts = [str(part) for part in problem["loc"]]
        name = next((n for n in (".".join(parts[:i]) for i in range(len(parts), 0, -1)) if n in known), parts[0])
        key = known.get(name)
        expected = f" (one of {', '.join(key.choices)})" if key is not None and key.choices else ""
        lines.append(
            f"{name}: {problem['msg'].lower()}{expected}, got {problem['input']!r} from {origins.get(name, '?')}"
        )
    return list(dict.fromkeys(lines))
