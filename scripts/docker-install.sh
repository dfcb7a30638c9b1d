#!/usr/bin/env bash
# The install commands of both images. A test runs them in a plain folder, where no image can be built.
#
#   docker-install.sh PREFIX SOURCE [DEVICE] [EXTRAS] [MODELS]
#
#   PREFIX  folder of the virtual environment        SOURCE  checkout (pyproject.toml and what the wheel needs)
#   DEVICE  cpu (default) or cuda                    EXTRAS  extras of pyproject.toml, comma-separated
#   MODELS  ids to pull into $VOICE_STACK_CACHE, separated by blanks; none when empty
set -euo pipefail

if [ $# -lt 2 ]; then
    sed -n '2,9s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
case ${3:-cpu} in
cpu | cuda) ;;
*)
    echo "docker-install.sh: unknown device '$3'; use cpu or cuda (ROCm: docs/devices.md)" >&2
    exit 2
    ;;
esac
prefix=$1 source=$2 device=${3:-cpu} extras=${4:-} models=${5:-}
python=$prefix/bin/python
export PIP_NO_CACHE_DIR=${PIP_NO_CACHE_DIR:-1} PIP_DISABLE_PIP_VERSION_CHECK=1

[ -x "$python" ] || python3 -m venv "$prefix"
"$python" -m pip install "$source${extras:+[$extras]}"

if [ "$device" = cuda ]; then
    # The base image brings CUDA and cuDNN, so the libraries of the `cuda` extra are not needed.
    "$source/scripts/onnxruntime-gpu.sh" "$python"
fi

"$prefix/bin/voice-stack" --version
if [ -n "$models" ]; then
    # shellcheck disable=SC2086  # a list of ids
    "$prefix/bin/voice-stack" models pull $models
fi
