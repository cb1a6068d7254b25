# METADATA
# title: Who may do what with which model
# description: |
#   Prove every check. `required` names the checks of an action group (data.required), `proven` gains a name only from
#   a positive proof in checks.rego, and a call is allowed when nothing that is required is missing. A missing or
#   malformed input field proves nothing, so it denies, with the name of the check as the reason.
# scope: package
package gateway.authz

# METADATA
# title: The decision on one call
# description: The gateway reads this document and nothing else; see docs/policy.md for its fields.
# entrypoint: true
default decision := {
	"v": 1,
	"allow": false,
	"reasons": [{"code": "policy_undefined"}],
	"obligations": [],
}

decision := {
	"v": 1,
	"allow": allow,
	"reasons": reasons,
	"obligations": obligations,
	"ttl_s": 5,
	"policy_version": data.version,
}

default allow := false

allow if {
	count(required) > 0 # a comprehension over nothing is the empty set, not undefined
	count(missing) == 0
}

required := {check | some check in data.required[input.action.group]}

missing := required - proven

reasons contains {"code": check} if some check in missing

reasons contains {"code": "unknown_action"} if count(required) == 0
