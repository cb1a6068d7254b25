#!/bin/sh
# Installs the pinned tools that prove the policies into .tools/bin: opa, and regal where the module proxy has it.
# Quick when they are there already. Needs go.
set -eu
cd "$(dirname "$0")/.."
OPA=v1.21.3
REGAL=v0.37.0
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
if ! command -v promtool >/dev/null; then
	echo "installing prometheus and promtool"
	if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
		apt-get install -y -q --no-install-recommends prometheus >/dev/null
	else
		echo "promtool is missing: apt-get install prometheus, or see https://prometheus.io/download" >&2
	fi
fi
