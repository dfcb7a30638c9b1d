#!/usr/bin/env bash
# Replaces ONNX Runtime's CPU build with the CUDA build that pyproject.toml names: onnxruntime-gpu.sh PYTHON
#
# Both builds own the same folder in site-packages, so the CPU build has to go before the other one comes.
set -euo pipefail

python=${1:?usage: onnxruntime-gpu.sh PYTHON}
project=$(dirname "${BASH_SOURCE[0]}")/../pyproject.toml
wanted=$(sed -n 's/^ *"\(onnxruntime-gpu\)\[[^]]*\]\([^"]*\)".*/\1\2/p' "$project")
"$python" -m pip uninstall --quiet --yes onnxruntime onnxruntime-gpu
"$python" -m pip install --quiet --disable-pip-version-check --no-deps "$wanted"
