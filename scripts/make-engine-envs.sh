#!/bin/sh
# Build the environments of `make engines`: voice-stack with one extra in each, and one without any.
#
#   scripts/make-engine-envs.sh FOLDER EXTRA...
#
# FOLDER/base holds no extra, FOLDER/EXTRA that one. scripts/make-extras-env.sh builds each, and says which variables
# count. An environment that cannot be built is left out and told; the status is then 1.
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
folder=$1
shift
mkdir -p "$folder"

missing=0
for name in base "$@"; do
    if ! "$root/scripts/make-extras-env.sh" "$folder/$name" "$name"; then
        echo "the environment $name cannot be built" >&2
        missing=1
    fi
done
exit "$missing"
