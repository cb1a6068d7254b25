#!/usr/bin/env bash
# Builds a real OpenTelemetry Collector and Jaeger into .tools/bin, for `make chaos`. Needs Go; takes some minutes.
set -euo pipefail
cd "$(dirname "$0")/.."
bin="$PWD/.tools/bin"
collector=v0.160.0
jaeger=v1.76.0
mkdir -p "$bin"
command -v go >/dev/null || { echo "Go is not installed: https://go.dev/dl" >&2; exit 1; }
work=$(mktemp -d)
trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT

if [ ! -x "$bin/otelcol" ]; then
  cat >"$work/builder.yaml" <<EOF
dist: {name: otelcol, output_path: $work/otelcol}
receivers: [{gomod: go.opentelemetry.io/collector/receiver/otlpreceiver $collector}]
processors: [{gomod: go.opentelemetry.io/collector/processor/batchprocessor $collector}]
exporters:
  - gomod: go.opentelemetry.io/collector/exporter/debugexporter $collector
  - gomod: go.opentelemetry.io/collector/exporter/otlpexporter $collector
EOF
  GOBIN="$work" go install "go.opentelemetry.io/collector/cmd/builder@$collector"
  "$work/builder" --config "$work/builder.yaml"
  install -m 755 "$work/otelcol/otelcol" "$bin/otelcol"
fi

if [ ! -x "$bin/jaeger" ]; then
  # `go install` refuses a module with replacements, so build from the module's own tree; its user interface is not in it.
  source=$(go mod download -json "github.com/jaegertracing/jaeger@$jaeger" | sed -n 's/.*"Dir": "\(.*\)".*/\1/p')
  cp -r "$source" "$work/jaeger" && chmod -R u+w "$work/jaeger"
  (cd "$work/jaeger" && go build -o "$bin/jaeger" ./cmd/all-in-one)
fi
echo "otelcol and jaeger are in $bin"
