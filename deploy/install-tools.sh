#!/bin/sh
# Installs the pinned tools that the tests call into .tools/bin: opa, grpcurl, h2spec, and regal where the module
# proxy has it.
# Quick when they are there already. Needs go.
set -eu
cd "$(dirname "$0")/.."
OPA=v1.21.3
REGAL=v0.37.0
GRPCURL=v1.9.4
H2SPEC=v2.2.1+incompatible
bin="$PWD/.tools/bin"
mkdir -p "$bin"
if ! "$bin/opa" version 2>/dev/null | grep -q "^Version: ${OPA#v}$"; then
	echo "installing opa $OPA"
	GOBIN="$bin" GOFLAGS=-buildvcs=false go install "github.com/open-policy-agent/opa@$OPA"
fi
if [ ! -x "$bin/regal" ]; then
	echo "installing regal $REGAL"
	GOBIN="$bin" GOFLAGS=-buildvcs=false go install "github.com/open-policy-agent/regal@$REGAL" 2>/dev/null ||
		echo "regal $REGAL is not to be had from this module proxy; its lint is left out"
fi
# h2spec and grpcurl check the transports from outside: HTTP/2 section by section, and as another language's client.
if [ ! -x "$bin/grpcurl" ]; then
	echo "installing grpcurl $GRPCURL"
	GOBIN="$bin" GOFLAGS=-buildvcs=false go install "github.com/fullstorydev/grpcurl/cmd/grpcurl@$GRPCURL"
fi
if [ ! -x "$bin/h2spec" ]; then
	echo "installing h2spec $H2SPEC"
	GOBIN="$bin" GOFLAGS=-buildvcs=false go install "github.com/summerwind/h2spec/cmd/h2spec@$H2SPEC"
fi
if ! command -v promtool >/dev/null; then
	echo "installing prometheus and promtool"
	if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
		apt-get install -y -q --no-install-recommends prometheus >/dev/null
	else
		echo "promtool is missing: apt-get install prometheus, or see https://prometheus.io/download" >&2
	fi
fi
