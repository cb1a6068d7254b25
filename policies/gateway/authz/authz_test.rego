package gateway.authz_test

import data.gateway.authz

# One complete input, allowed; each test changes what it is about.
call := {
	"v": 1,
	"subject": {"id": "intake-app", "type": "service", "tenant": "clinic", "groups": []},
	"action": {"group": "inference", "name": "infer"},
	"model": {"name": "diabetes"},
	"request": {"peer_ip": "10.1.2.3", "peer_kind": "tcp", "time": {"hour_utc": 11, "weekday": 3}},
	"tensors": {"batch": 8, "total_bytes": 320},
}

changed(path, value) := json.patch(call, [{"op": "replace", "path": path, "value": value}])

# Several changes at once, as an object of paths and values.
changes(values) := json.patch(call, [{"op": "replace", "path": path, "value": value} | some path, value in values])

# The reasons of a denial; empty for an allow, whatever else it says.
codes contains reason.code if {
	authz.decision.allow == false
	some reason in authz.decision.reasons
}

obliged[obligation.type] := obligation if some obligation in authz.decision.obligations

test_a_member_may_call_a_model_of_its_tenant if {
	decision := authz.decision with input as call
	decision.allow
	decision.reasons == set()
	decision.obligations == set()
	decision.policy_version == data.version
}

test_nothing_known_proves_nothing if {
	decision := authz.decision with input as {}
	not decision.allow
	{"code": "unknown_action"} in decision.reasons
}

test_a_stranger_is_denied_by_name_of_every_check if {
	codes == {"permission", "model", "network", "hours", "batch", "size", "limits", "rate"} with input as changed(
		"/subject/tenant",
		"nobody",
	)
}

test_the_model_of_another_tenant_is_denied if {
	{"model", "sensitive"} & codes == {"model"} with input as changed("/model/name", "digits")
}

test_a_model_that_data_does_not_know_is_denied if {
	codes == {"model", "sensitive", "provenance"} with input as changed("/model/name", "unheard-of")
}

test_an_unknown_model_does_not_open_for_a_clinician if {
	codes == {"model", "sensitive", "provenance"} with input as changes({
		"/subject/id": "screening-app",
		"/model/name": "unheard-of",
	})
}

test_the_network_of_the_tenant if {
	authz.decision.allow with input as changed("/request/peer_ip", "::1")
	codes == {"network"} with input as changed("/request/peer_ip", "8.8.8.8")
	codes == {"network"} with input as changed("/request/peer_ip", "")
}

test_the_machines_own_socket_is_a_network if {
	authz.decision.allow with input as changes({"/request/peer_ip": "", "/request/peer_kind": "uds"})
}

insurer(hour, weekday) := changes({
	"/subject/tenant": "insurer",
	"/request/time/hour_utc": hour,
	"/request/time/weekday": weekday,
})

test_office_hours if {
	authz.decision.allow with input as insurer(7, 1)
	authz.decision.allow with input as insurer(18, 5)
	codes == {"hours"} with input as insurer(6, 1)
	codes == {"hours"} with input as insurer(19, 1)
	codes == {"hours"} with input as insurer(11, 6)
}

test_the_batch_limit_is_inclusive if {
	authz.decision.allow with input as changed("/tensors/batch", 32)
	codes == {"batch"} with input as changed("/tensors/batch", 33)
	codes == {"batch"} with input as changed("/tensors/batch", -1)
	codes == {"batch"} with input as changed("/tensors/batch", null)
	codes == {"batch"} with input as changed("/tensors/batch", true)
}

test_the_size_limit_is_inclusive if {
	authz.decision.allow with input as changed("/tensors/total_bytes", 4194304)
	codes == {"size"} with input as changed("/tensors/total_bytes", 4194305)
	codes == {"size"} with input as changed("/tensors/total_bytes", null)
	codes == {"size"} with input as changed("/tensors/total_bytes", -1)
}

test_sensitive_outputs_leave_zeroed if {
	authz.decision.allow with input as changed("/model/name", "breast-cancer")
	mask := {"type": "mask_outputs", "names": ["probabilities"], "with": "zero"}
	obliged.mask_outputs == mask with input as changed("/model/name", "breast-cancer")
}

test_a_clinician_reads_them if {
	named := changes({"/model/name": "breast-cancer", "/subject/id": "screening-app"})
	authz.decision == {
		"v": 1, "allow": true, "reasons": set(), "obligations": set(),
		"ttl_s": 5, "policy_version": data.version,
	} with input as named
	grouped := changes({"/model/name": "breast-cancer", "/subject/groups": ["clinicians"]})
	count(obliged) == 0 with input as grouped
	authz.decision.allow with input as grouped
}

test_guests_are_limited_by_obligations if {
	guest := changes({"/subject/tenant": "guest", "/model/name": "digits"})
	authz.decision.allow with input as guest
	obliged.limit == {"type": "limit", "max_batch": 8, "max_inputs": 1} with input as guest
	obliged.rate_limit == {"type": "rate_limit", "key": "guest", "rps": 50, "burst": 100} with input as guest
}

test_anonymous_callers_share_the_public_tenant if {
	anonymous := {"/subject/type": "anonymous", "/subject/tenant": "anonymous", "/request/peer_ip": "127.0.0.1"}
	authz.decision.allow with input as changes(object.union(anonymous, {"/model/name": "digits"}))
	codes == {"model"} with input as changes(anonymous)
}

test_an_anonymous_caller_gets_no_tenant_by_claiming_it if {
	codes == {"model", "network"} with input as changed("/subject/type", "anonymous")
}

test_health_is_open_to_all if {
	probe := {"/action/group": "health", "/action/name": "server_live", "/subject/type": "anonymous"}
	authz.decision.allow with input as changes(probe)
}

test_metadata_is_for_the_authenticated if {
	metadata := {"/action/group": "metadata", "/action/name": "model_metadata"}
	authz.decision.allow with input as changes(metadata)
	anonymous := object.union(metadata, {"/subject/type": "anonymous"})
	codes == {"permission"} with input as changes(anonymous)
}

test_operators_alone_change_the_repository if {
	load := {"/action/group": "model-repository", "/action/name": "load"}
	codes == {"permission"} with input as changes(load)
	admin := object.union(load, {"/subject/tenant": "platform", "/subject/id": "admin"})
	authz.decision.allow with input as changes(admin)
	group := object.union(load, {"/subject/tenant": "platform", "/subject/groups": ["operators"]})
	authz.decision.allow with input as changes(group)
	elsewhere := object.union(load, {"/subject/groups": ["operators"]})
	codes == {"permission"} with input as changes(elsewhere)
}

test_operators_run_no_model if {
	admin := {"/subject/tenant": "platform", "/subject/id": "admin"}
	codes == {"permission", "batch", "size"} with input as changes(admin)
}

test_an_unknown_action_is_denied if {
	codes == {"unknown_action"} with input as changed("/action/group", "dance")
	codes == {"permission"} with input as changes({"/action/group": "trace", "/action/name": null})
}

test_values_of_another_type_prove_nothing if {
	codes == {"unknown_action"} with input as changed("/action/group", null)
	codes == {"model", "sensitive", "provenance"} with input as changed("/model/name", null)
	codes == {"network"} with input as changed("/request/peer_ip", null)
	authz.decision.allow with input as changed("/subject/groups", null) # no groups, no more rights
}

test_a_stranger_gains_nothing_by_the_machines_own_socket if {
	stranger := {"/subject/tenant": "nobody", "/request/peer_ip": "", "/request/peer_kind": "uds"}
	"network" in codes with input as changes(stranger)
}

test_what_data_requires_of_a_model_is_promised if {
	obliged.require == {"type": "require", "what": "signed_model"} with input as call
		with data.models.diabetes.require as ["signed_model"]
	authz.decision.allow with input as call with data.models.diabetes.require as ["signed_model"]
	codes == {"provenance"} with input as call with data.models.diabetes as {"sensitive_outputs": []}
	codes == {"provenance"} with input as call with data.models.diabetes.require as {}
	required_to_get := {"model-config": ["permission"]}
	count(obliged) == 0 with input as changed("/action", {"group": "model-config", "name": "get"})
		with data.models.diabetes.require as ["signed_model"]
		with data.required as required_to_get
}
