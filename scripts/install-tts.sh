#!/usr/bin/env bash
# Installs the TTS service on this machine: sudo ./scripts/install-tts.sh [--help] [options]
set -euo pipefail
exec "$(dirname "${BASH_SOURCE[0]}")/service.sh" install tts "$@"
