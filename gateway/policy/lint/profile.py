"""All rules of the lint over one set of modules."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.policy.findings import Finding
from gateway.policy.interpreter import Ast
from gateway.policy.lint.calls import check_calls
from gateway.policy.lint.doubts import check_doubts
from gateway.policy.lint.negation import check_negations
from gateway.policy.lint.paths import check_paths
from gateway.policy.lint.scope import rules_by_package
from gateway.policy.lint.shape import check_shape
from gateway.policy.reads import reads_of
from gateway.policy.syntax import Unknown, modules


def lint(ast: Ast, data: Mapping[str, object]) -> list[Finding]:
    """Every finding, sorted by place. A tree with anything we do not know is itself an error."""
    try:
        found = list(modules(ast))
        packages = rules_by_package(found)
        findings = [*check_shape(found, packages, data), *check_calls(found)]
        for module in found:
            findings += check_negations(module, packages[module.package])
            findings += check_paths(module)
        findings += check_doubts(found, reads_of(ast))
    except Unknown as unknown:
        return [Finding("", 0, 0, "compile", f"the syntax tree holds what this gateway cannot judge: {unknown}")]
    return sorted(set(findings))
