#!/bin/sh
# Build the environments of `make engines`: voice-stack with one extra in each, and one without any.
#
#   scripts/make-engine-envs.sh FOLDER EXTRA...
#
# FOLDER/base holds no extra, FOLDER/EXTRA that one.
# PYTHON       the Python 3.11+ to build them with (python3)
# TORCH_INDEX  an extra package index for torch; without one the default wheel is taken, which on Linux may bring
#              2 GB of CUDA libraries; PyTorch's own index has builds without them.
#
# What is up to date is not built again. An environment that cannot be built is left out and told; the status is then 1.
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
base=$1
shift
wanted=$(cat "$0" "$root/pyproject.toml" | cksum)
mkdir -p "$base"

pip() { # ENVIRONMENT REQUIREMENT...
    python=$base/$1/bin/python
    shift
    "$python" -m pip --disable-pip-version-check install -qq --progress-bar=off "$@"
}

torch() { # ENVIRONMENT: the version that the tests are written with, before anything can choose another
    pip "$1" ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} "torch==2.13.0"
}

build() { # ENVIRONMENT
    # Coqui's libraries need the order and the versions of its own script.
    if [ "$1" = coqui ]; then
        "$root/scripts/make-coqui-env.sh" "$base/coqui"
        return
    fi
    "${PYTHON:-python3}" "$root/scripts/make_env.py" "$base/$1" || return 1
    pip "$1" "pytest>=8.3,<10" "pytest-timeout>=2.3,<3" || return 1
    case $1 in
    base) return ;;
    whisper) torch "$1" || return 1 ;;
    pyannote)
        torch "$1" || return 1
        # As for Coqui: a torchaudio for CUDA does not load its extensions beside a torch for CPUs.
        pip "$1" --no-deps "torchaudio==2.11.0" || return 1
        if ! "$base/$1/bin/python" -c "import torchaudio" >/dev/null 2>&1; then
            rm -f "$base/$1"/lib/python3.*/site-packages/torchaudio/lib/*.so
        fi
        ;;
    esac
    "${PYTHON:-python3}" "$root/scripts/make_env.py" "$base/$1" --extras "$1"
}

missing=0
for name in base "$@"; do
    stamp=$base/$name/built.stamp
    [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ] && continue
    rm -f "$stamp"
    if (build "$name"); then
        echo "$wanted" >"$stamp"
    else
        echo "the environment $name cannot be built" >&2
        missing=1
    fi
done
exit "$missing"
