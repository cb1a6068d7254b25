"""The lint of the portable profile: what would open a policy, or make two engines disagree, found before it runs."""

from gateway.policy.lint.profile import lint

__all__ = ["lint"]
