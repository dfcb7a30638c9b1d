#!/usr/bin/env bash
# Removes the services: sudo ./scripts/uninstall.sh [asr|tts|all] [--purge] [--dry-run]
set -euo pipefail
case ${1:-} in
asr | tts | all) ;;
"" | -*) set -- all "$@" ;;
*)
    echo "usage: uninstall.sh [asr|tts|all] [--purge] [--dry-run]" >&2
    exit 2
    ;;
esac
exec "$(dirname "${BASH_SOURCE[0]}")/service.sh" uninstall "$@"
