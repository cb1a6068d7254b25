#!/bin/sh
# Installs the clients that the tests drive beside tritonclient: KServe's and MLServer's, which register the same messages
# as tritonclient and so need an environment each (.tools/clients, with the gateway beside them), and Triton's
# perf_analyzer (.tools/bin; Linux on x86-64). Pinned; quick when they are there already.
set -eu
cd "$(dirname "$0")/.."
python="${PYTHON:-.venv/bin/python}"
clients="$PWD/.tools/clients"
mkdir -p "$clients" .tools/bin

environment() { # name, pip's arguments; deploy/clients/NAME.txt pins what they bring
	home="$clients/$1"
	want="$home/.wanted"
	mkdir -p "$home"
	cat "deploy/clients/$1.txt" pyproject.toml >"$want"
	cmp -s "$want" "$home/.installed" && return
	echo "installing $1 into .tools/clients/$1"
	[ -x "$home/bin/pip" ] || "$python" -m venv "$home"
	name="$1"
	shift
	"$home/bin/pip" install --quiet --disable-pip-version-check --constraint "deploy/clients/$name.txt" "$@"
	cat "deploy/clients/$name.txt" pyproject.toml >"$home/.installed"
}

environment kserve kserve --editable .
environment mlserver mlserver --editable .

if [ "$(uname -sm)" != "Linux x86_64" ]; then
	echo "perf_analyzer is published for Linux on x86-64 only: left out"
	exit 0
fi
# The last wheel of tritonclient that brings the program for glibc 2.36 and older; it needs CUDA's runtime even on a CPU.
environment perf_analyzer --no-deps tritonclient nvidia-cuda-runtime-cu12
home="$clients/perf_analyzer"
if [ ! -e "$home/debian/usr/lib/x86_64-linux-gnu/libb64.so.0d" ]; then
	command -v apt-get >/dev/null || { echo "perf_analyzer needs libb64.so.0d: install it" >&2; exit 1; }
	(cd "$home" && { apt-get download -qq libb64-0d 2>/dev/null || { apt-get update -q >/dev/null && apt-get download -qq libb64-0d; }; })
	dpkg -x "$home"/libb64-0d_*.deb "$home/debian"
fi
cat >.tools/bin/perf_analyzer <<'WRAPPER'
#!/bin/sh
home="$(cd "$(dirname "$0")/../clients/perf_analyzer" && pwd)"
cuda=$(echo "$home"/lib/python*/site-packages/nvidia/cuda_runtime/lib)
LD_LIBRARY_PATH="$home/debian/usr/lib/x86_64-linux-gnu:$cuda" exec "$home/bin/perf_analyzer" "$@"
WRAPPER
chmod +x .tools/bin/perf_analyzer
