#!/usr/bin/env bash
# Removes the services: sudo ./scripts/uninstall.sh [asr|tts|all] [--purge] [--dry-run]
set -euo pipefail
here=$(dirname "${BASH_SOURCE[0]}")
case ${1:-all} in
asr | tts) exec "$here/service.sh" uninstall "$@" ;;
all) [ $# -eq 0 ] || shift ;;
-*) ;;
*)
    echo "usage: uninstall.sh [asr|tts|all] [--purge] [--dry-run]" >&2
    exit 2
    ;;
esac
"$here/service.sh" uninstall tts "$@"
exec "$here/service.sh" uninstall asr "$@"
