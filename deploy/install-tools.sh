#!/bin/sh
# Installs the pinned tools that the tests call: opa, regal, grpcurl, h2spec and kustomize into .tools/bin (needs go),
# promtool, prometheus, h2load and valgrind from Debian's packages (needs root), and other servers' clients. Quick when they are
# there already.
set -eu
cd "$(dirname "$0")/.."
OPA=v1.21.3
REGAL=v0.35.1
GRPCURL=v1.9.4
H2SPEC=v2.2.1+incompatible
KUSTOMIZE=v5.7.1
bin="$PWD/.tools/bin"
mkdir -p "$bin"
export GOFLAGS=-buildvcs=false
wait="-o DPkg::Lock::Timeout=300" # somebody else may be installing

go_install() { # name, package@version
	[ -x "$bin/$1" ] && return
	echo "installing $1 (${2##*@})"
	GOBIN="$bin" go install "$2"
}

debian() { # command, package
	command -v "$1" >/dev/null && return
	if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
		echo "$1 is missing: install the package $2" >&2
		return 1
	fi
	echo "installing $1 (Debian package $2)"
	apt-get $wait install -y -q --no-install-recommends "$2" >/dev/null 2>&1 ||
		{ apt-get $wait update -q >/dev/null && apt-get $wait install -y -q --no-install-recommends "$2" >/dev/null; }
}

command -v go >/dev/null || { echo "go is missing: see https://go.dev/dl" >&2; exit 1; }
"$bin/opa" version 2>/dev/null | grep -q "^Version: ${OPA#v}$" || rm -f "$bin/opa"
go_install opa "github.com/open-policy-agent/opa@$OPA"
go_install grpcurl "github.com/fullstorydev/grpcurl/cmd/grpcurl@$GRPCURL"
go_install h2spec "github.com/summerwind/h2spec/cmd/h2spec@$H2SPEC"
go_install kustomize "sigs.k8s.io/kustomize/kustomize/v5@$KUSTOMIZE"
if [ ! -x "$bin/regal" ]; then
	# Its module moved to another name, so `go install` by the old one is refused; its own tree builds.
	echo "installing regal ($REGAL)"
	tree=$(go mod download -json "github.com/styrainc/regal@$REGAL" | sed -n 's/.*"Dir": "\(.*\)".*/\1/p')
	work=$(mktemp -d)
	trap 'rm -rf "$work"' EXIT
	cp -r "$tree" "$work/regal"
	chmod -R u+w "$work/regal"
	(cd "$work/regal" && go build -o "$bin/regal" .)
fi
debian promtool prometheus
debian h2load nghttp2-client
debian valgrind valgrind
deploy/install-clients.sh
