#!/bin/sh
# Sends generated requests to the API at $1, like http://127.0.0.1:9933, and looks whether the answers are those that
# /v1/openapi.json promises. The environment names the program (ACP_SCHEMATHESIS), an API key (ACP_KEY, in no argument) and
# how long it may take in seconds (ACP_SCHEMATHESIS_SECONDS, 20).
set -eu
export ACP_API="$1"
config=$(cd "$(dirname "$0")" && pwd)/schemathesis.toml
# It keeps what it found in the directory that it runs in.
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cd "$scratch"
"${ACP_SCHEMATHESIS:-schemathesis}" --config-file "$config" run "$ACP_API/v1/openapi.json" \
    --phases examples,coverage,fuzzing --max-time "${ACP_SCHEMATHESIS_SECONDS:-20}" --no-shrink
