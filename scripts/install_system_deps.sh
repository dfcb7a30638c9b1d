#!/usr/bin/env bash
# Installs what the services need from Debian or Ubuntu: sudo ./scripts/install_system_deps.sh [--dry-run]
#
# Python with venv is needed. ffmpeg is optional: without it the static one of the imageio-ffmpeg wheel is used, but
# the distribution's gets its security updates from the distribution.
set -euo pipefail

packages=(python3 python3-venv ca-certificates ffmpeg)
dry=""
case ${1:-} in
"") ;;
--dry-run) dry=yes ;;
*)
    sed -n '2,5s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
    [ "$1" = --help ] || exit 2
    exit 0
    ;;
esac

run() {
    echo "+ $*"
    [ -n "$dry" ] || "$@"
}

if ! command -v apt-get >/dev/null; then
    echo "no apt-get here: install ${packages[*]} with this system's package manager" >&2
    exit 1
fi
[ -n "$dry" ] || [ "$(id -u)" = 0 ] || {
    echo "run this with sudo (or look at it with --dry-run)" >&2
    exit 1
}
run apt-get update
run apt-get install --yes --no-install-recommends "${packages[@]}"
[ -n "$dry" ] || python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "voice-stack needs Python 3.11 or newer; this system has $(python3 --version)" >&2
    exit 1
}
