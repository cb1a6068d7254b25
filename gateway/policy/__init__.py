"""The decision: a Rego policy is asked, its answer is checked, and only an allow becomes a Permit."""
