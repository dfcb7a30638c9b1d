#!/bin/sh
# Build the virtual environment of `make test-whisper`: voice-stack, torch and openai-whisper, apart from the torch-free
# .venv.
#
#   scripts/make-whisper-env.sh [.venv-whisper]
#
# PYTHON       the Python 3.11+ to build it with (python3)
# TORCH_INDEX  an extra package index for torch; without one the default wheel is taken, which on Linux may bring
#              2 GB of CUDA libraries; PyTorch's own index has builds without them.
#
# The versions are those the tests were written with. Nothing is done when the environment is up to date.
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
venv=${1:-$root/.venv-whisper}
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

echo "installing torch and openai-whisper into $venv (about 600 MB the first time)"
# torch first, so that nothing else decides which one it is.
pip ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} \
    "torch==2.13.0" more-itertools numba tiktoken tqdm \
    "pytest>=8.3,<10" "pytest-randomly>=3.16,<5" "pytest-timeout>=2.3,<3"
# --no-deps: on Linux it requires Triton, 200 MB that a CPU build of torch has no use for. It comes as source alone.
pip --no-deps "openai-whisper==20250625"
"$python" -W ignore -c "import whisper"
echo "$wanted" >"$stamp"
