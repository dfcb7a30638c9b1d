#!/bin/sh
# Build the virtual environment of `make test-coqui`: voice-stack, torch and Coqui, apart from the torch-free .venv.
#
#   scripts/make-coqui-env.sh [.venv-coqui]
#
# PYTHON       the Python 3.11+ to build it with (python3)
# TORCH_INDEX  an extra package index for torch; without one the default wheel is taken, which on Linux may bring
#              2 GB of CUDA libraries; PyTorch's own index has builds without them.
#
# The versions are those the tests were written with. Nothing is done when the environment is up to date.
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
venv=${1:-$root/.venv-coqui}
python=$venv/bin/python
stamp=$venv/voice-stack.stamp
wanted=$(cat "$0" "$root/pyproject.toml" | cksum)

if [ -x "$python" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ]; then
    exit 0
fi
rm -f "$stamp"
"${PYTHON:-python3}" "$root/scripts/make_env.py" "$venv"

pip() {
    "$python" -m pip --disable-pip-version-check install -qq --progress-bar=off "$@"
}

echo "installing torch and coqui-tts into $venv (about 1 GB the first time)"
# coqui-tts 0.28 imports six without requiring it.
pip ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} \
    "torch==2.13.0" "coqui-tts==0.28.0" six \
    "pytest>=8.3,<10" "pytest-randomly>=3.16,<5" "pytest-timeout>=2.3,<3"
# torchcodec is never opened, but coqui-tts refuses to be imported beside torch >= 2.9 without it. --no-deps: neither
# of the two may change which torch is installed.
pip --no-deps "torchaudio==2.11.0" "torchcodec>=0.8"
# torchaudio's wheel is built for CUDA: beside a CPU torch its three extensions do not load, and without them
# everything Coqui needs works. In this environment only, and only where they do not load.
if ! "$python" -c "import torchaudio" >/dev/null 2>&1; then
    rm -f "$venv"/lib/python3.*/site-packages/torchaudio/lib/*.so
fi
"$python" -W ignore -c "import TTS.tts.models.xtts, TTS.tts.models.vits"
echo "$wanted" >"$stamp"
