# METADATA
# title: Everybody may do everything
# description: For tests that are not about policy.
# scope: package
package gateway.authz

# METADATA
# title: The decision on one call
# entrypoint: true
default decision := {"v": 1, "allow": false, "reasons": [{"code": "policy_undefined"}], "obligations": []}

decision := {"v": 1, "allow": true, "reasons": [], "obligations": []} if input.action.group != ""
