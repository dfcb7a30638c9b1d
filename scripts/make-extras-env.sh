#!/bin/sh
# Build the virtual environment of `make test-extras`: voice-stack and the libraries of the engines that are behind
# extras (coqui, whisper, crispasr, sherpa), apart from the torch-free .venv.
#
#   scripts/make-extras-env.sh [.venv-extras [EXTRA...]]
#
# PYTHON       the Python 3.11+ to build it with (python3)
# TORCH_INDEX  an extra package index for torch; without one the default wheel is taken, which on Linux may bring
#              2 GB of CUDA libraries; PyTorch's own index has builds without them.
#
# The versions are those the tests were written with. Nothing is done when the environment is up to date.
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
venv=${1:-$root/.venv-extras}
[ $# -gt 0 ] && shift
[ $# -gt 0 ] || set -- coqui whisper crispasr sherpa
python=$venv/bin/python
stamp=$venv/voice-stack.stamp
wanted="$(cat "$0" "$root/pyproject.toml" | cksum) $* ${TORCH_INDEX:-}"

if [ -x "$python" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ]; then
    exit 0
fi
rm -f "$stamp"
"${PYTHON:-python3}" "$root/scripts/make_env.py" "$venv"

pip() {
    "$python" -m pip --disable-pip-version-check install -qq --progress-bar=off "$@"
}

# torch before anything that could choose another one.
torch() {
    pip ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} "torch==2.13.0"
}

# torchaudio's wheel is built for CUDA: beside a CPU torch its three extensions do not load, and without them
# everything that is tested works. In this environment only, and only where they do not load.
torchaudio() {
    # --no-deps: it may not change which torch is installed.
    pip --no-deps "torchaudio==2.11.0"
    if ! "$python" -c "import torchaudio" >/dev/null 2>&1; then
        rm -f "$venv"/lib/python3.*/site-packages/torchaudio/lib/*.so
    fi
}

echo "installing $* into $venv (with torch about 1 GB the first time)"
pip "pytest>=8.3,<10" "pytest-randomly>=3.16,<5" "pytest-timeout>=2.3,<3" "pytest-xdist>=3.7,<4"
for extra in "$@"; do
    case $extra in
    coqui)
        torch
        # coqui-tts 0.28 imports six without requiring it.
        pip "coqui-tts==0.28.0" six
        torchaudio
        # Never opened, but coqui-tts refuses to be imported beside torch >= 2.9 without it.
        pip --no-deps "torchcodec>=0.8"
        "$python" -W ignore -c "import TTS.tts.models.xtts, TTS.tts.models.vits"
        ;;
    whisper)
        torch
        # onnx writes the networks that scripts/convert_whisper.py makes for sherpa-onnx.
        pip more-itertools numba tiktoken tqdm "onnx>=1.17,<2"
        # --no-deps: on Linux it requires Triton, 200 MB that a CPU build of torch has no use for. It comes as source.
        pip --no-deps "openai-whisper==20250625"
        "$python" -W ignore -c "import whisper"
        ;;
    pyannote)
        torch
        torchaudio
        "${PYTHON:-python3}" "$root/scripts/make_env.py" "$venv" --extras pyannote
        ;;
    # The types that pyannote.audio returns, on which its engine is tested without it.
    base) pip "pyannote.core>=6,<7" ;;
    *) "${PYTHON:-python3}" "$root/scripts/make_env.py" "$venv" --extras "$extra" ;;
    esac
done
echo "$wanted" >"$stamp"
