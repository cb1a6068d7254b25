package gateway.authz

# A tenant is what data says of it. Anonymous callers share one.
tenant := data.tenants[input.subject.tenant] if input.subject.type in {"user", "service"}

tenant := data.tenants.public if input.subject.type == "anonymous"

# METADATA
# title: Roles
# description: Everyone's, those of an authenticated caller, of a tenant's members, of a named user and of groups.
# scope: document
roles contains role if some role in data.everyone

roles contains role if {
	input.subject.type in {"user", "service"}
	some role in data.authenticated
}

roles contains role if some role in tenant.members

roles contains role if some role in tenant.users[input.subject.id]

roles contains role if {
	is_array(input.subject.groups) # iterating over anything else is an error in one engine only
	some group in input.subject.groups
	some role in tenant.groups[group]
}

granted(permission) if {
	some role in roles
	permission in data.roles[role]
}

# METADATA
# title: "permission: a role of the caller grants this action"
proven contains "permission" if {
	is_string(input.action.group) # concat of anything else is an error: a denial without a named reason
	is_string(input.action.name)
	granted(concat(":", [input.action.group, input.action.name]))
}

# METADATA
# title: "model: the tenant may use this model"
# description: A pattern such as `vision-*` stops at a slash.
proven contains "model" if {
	is_string(input.model.name)
	some pattern in tenant.models
	glob.match(pattern, ["/"], input.model.name)
}

# METADATA
# title: "network: the call comes from a network of the tenant, or over the machine's own socket"
proven contains "network" if {
	is_string(input.request.peer_ip)
	input.request.peer_ip != ""
	some name in tenant.networks
	some cidr in data.networks[name]
	net.cidr_contains(cidr, input.request.peer_ip)
}

proven contains "network" if {
	input.request.peer_kind == "uds"
	input.request.peer_ip == ""
	count(tenant.networks) > 0
}

# METADATA
# title: "hours: inside one of the tenant's time windows (UTC, `to` excluded)"
proven contains "hours" if tenant.hours == "always"

proven contains "hours" if {
	is_array(tenant.hours)
	is_number(input.request.time.hour_utc)
	some window in tenant.hours
	input.request.time.weekday in window.weekdays
	input.request.time.hour_utc >= window.from
	input.request.time.hour_utc < window.to
}

# METADATA
# title: "batch: at most the tenant's rows"
# description: 0 rows are inputs that are missing or disagree; the model's signature refuses those and names the input.
proven contains "batch" if {
	is_number(input.tensors.batch) # null <= 32 and true <= 32 hold in Rego
	input.tensors.batch >= 0
	input.tensors.batch <= tenant.max_batch
}

# METADATA
# title: "size: at most the tenant's bytes"
proven contains "size" if {
	is_number(input.tensors.total_bytes)
	input.tensors.total_bytes >= 0
	input.tensors.total_bytes <= tenant.max_bytes
}
