"""Configuration: one frozen tree, file < environment < flags; an unknown key is an error that names the nearest."""

from gateway.config.load import ConfigError, load
from gateway.config.tree import Config

__all__ = ["Config", "ConfigError", "load"]
