#!/usr/bin/env bash
# Updates the ASR service on this machine: sudo ./scripts/update-asr.sh [--help] [options]
set -euo pipefail
exec "$(dirname "${BASH_SOURCE[0]}")/service.sh" update asr "$@"
