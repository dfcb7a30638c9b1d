#!/usr/bin/env bash
# Updates the TTS service on this machine: sudo ./scripts/update-tts.sh [--help] [options]
set -euo pipefail
exec "$(dirname "${BASH_SOURCE[0]}")/service.sh" update tts "$@"
