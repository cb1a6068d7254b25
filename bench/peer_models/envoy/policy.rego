# The least that anyone would write: who may call which method. It sees the body, but only as bytes.
package envoy.authz

default allow := false

allow if {
	request := input.attributes.request.http
	request.headers["x-api-key"] in {"none"}
	startswith(request.path, "/inference.GRPCInferenceService/Model")
}
