package gateway.authz

# An obligation that does not appear is as open as a check that is skipped, so each is proven: it was promised, or data
# says in so many words that there is none.

promised contains obligation.type if some obligation in obligations

# METADATA
# title: "limits: the gateway holds the tenant's own limits"
obligations contains object.union({"type": "limit"}, tenant.limits) if {
	input.action.group == "inference"
	is_object(tenant.limits)
}

proven contains "limits" if "limit" in promised

proven contains "limits" if tenant.limits == "none"

# METADATA
# title: "rate: the gateway holds the tenant's rate"
obligations contains {
	"type": "rate_limit",
	"key": input.subject.tenant,
	"rps": tenant.rate.rps,
	"burst": tenant.rate.burst,
} if {
	input.action.group == "inference"
}

proven contains "rate" if "rate_limit" in promised

proven contains "rate" if tenant.rate == "unlimited"

# METADATA
# title: "sensitive: outputs that data calls sensitive leave zeroed, unless the caller may read them"
# description: A model that data does not know proves nothing here, so it is denied.
obligations contains {"type": "mask_outputs", "names": sensitive_outputs, "with": "zero"} if {
	input.action.group == "inference"
	count(sensitive_outputs) > 0
	not reads_sensitive
}

default reads_sensitive := false

reads_sensitive if {
	count(sensitive_outputs) > 0 # defined only for a model that data knows; not asked where nothing is masked
	granted("sensitive:read")
}

sensitive_outputs := data.models[input.model.name].sensitive_outputs

proven contains "sensitive" if "mask_outputs" in promised

proven contains "sensitive" if reads_sensitive

proven contains "sensitive" if count(sensitive_outputs) == 0

# METADATA
# title: "provenance: the gateway itself checks what data requires of the model, such as `signed_model`"
# description: A model without a list is denied; an empty one requires nothing.
obligations contains {"type": "require", "what": what} if {
	input.action.group == "inference"
	some what in requirements
}

requirements := data.models[input.model.name].require

proven contains "provenance" if "require" in promised

proven contains "provenance" if requirements == []
