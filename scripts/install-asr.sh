#!/usr/bin/env bash
# Installs the ASR service on this machine: sudo ./scripts/install-asr.sh [--help] [options]
set -euo pipefail
exec "$(dirname "${BASH_SOURCE[0]}")/service.sh" install asr "$@"
