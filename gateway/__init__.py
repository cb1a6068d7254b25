"""A governed inference gateway: permitted by policy, recorded before it is answered.

The layers, bottom first, are listed in ``docs/architecture.md``; import-linter holds them.
"""

__version__ = "0.1.0"
