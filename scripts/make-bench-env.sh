#!/bin/sh
# Build the environments of the programs that `make bench-asr` and `make bench-tts` compare with, each apart, and of
# what counts word errors and diarization errors.
#
#   scripts/make-bench-env.sh [.venv-bench]
#
# PYTHON  the Python 3.11+ to build them with (python3)
# OURS    the Python of the service (.venv/bin/python): a peer gets the same versions of the libraries that compute,
#         faster-whisper, CTranslate2 and ONNX Runtime, so that what is compared is the program around them
#
# What is up to date is not built again.
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
base=${1:-$root/.venv-bench}
python=${PYTHON:-python3}
ours=${OURS:-$root/.venv/bin/python}
mkdir -p "$base"

environment() { # NAME REQUIREMENT...
    name=$1
    shift
    [ "$(cat "$base/$name/built.stamp" 2>/dev/null)" = "$*" ] && return
    echo "installing $* into $base/$name"
    rm -rf "${base:?}/$name"
    "$python" -m venv "$base/$name"
    "$base/$name/bin/python" -m pip --disable-pip-version-check install -qq --progress-bar=off "$@"
    echo "$*" >"$base/$name/built.stamp"
}

installed() { # PACKAGE
    "$ours" -c 'import sys; from importlib.metadata import version; print(version(sys.argv[1]))' "$1"
}

engine="faster-whisper==$(installed faster-whisper) ctranslate2==$(installed ctranslate2)"
engine="$engine onnxruntime==$(installed onnxruntime) numpy==$(installed numpy) av==$(installed av)"

# The releases that the published figures name: a later one would be another comparison.
# shellcheck disable=SC2086 # a list of requirements
environment faster-whisper-server "faster-whisper-server==0.0.3" $engine
# shellcheck disable=SC2086
environment whisper-ctranslate2 "whisper-ctranslate2==0.5.8" $engine
environment fastkokoro "fastkokoro[cpu]==0.7.0" "onnxruntime==$(installed onnxruntime)"
# Word errors: their normaliser changes what counts as an error, so it stays as it is.
environment words "jiwer==4.0.0" "whisper-normalizer==0.1.15"
# Diarization errors: the metrics that published figures are computed with.
environment diarization "pyannote.metrics==4.2.0" "pyannote.core==6.1.0"
