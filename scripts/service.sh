#!/usr/bin/env bash
# Installs, updates and removes the systemd services; called by install-asr.sh, update-asr.sh and their siblings.
#
#   service.sh install|update asr|tts [options]
#   service.sh uninstall asr|tts|all [options]
#
#   --prefix DIR     where the virtual environment goes (default /opt/voice-stack)
#   --user NAME      run as this user; created when missing (default voice-stack)
#   --gpu KIND       nvidia or rocm: let the unit see the GPU (docs/devices.md says what to install besides)
#   --lan            let private networks connect, not only this machine
#   --extras LIST    extras of pyproject.toml, comma-separated (for example coqui)
#   --models "IDS"   models to pull instead of the default ones; "" pulls none
#   --no-start       install without enabling or starting the service
#   --purge          with uninstall: remove environment, settings, models and state too
#   --stage DIR      put everything below DIR, without users and systemctl (to try it out)
#   --dry-run        print the commands, run none
#
# Running it again is safe: it brings the machine to the state described, settings are never overwritten.
set -euo pipefail

source_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
prefix=/opt/voice-stack user=voice-stack gpu="" lan="" extras="" models=default start=yes purge="" stage="" dry="" group=""

usage() {
    sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"
    exit "${1:-2}"
}

fail() {
    echo "$*" >&2
    exit 1
}

run() {
    printf '+%s\n' "$(printf ' %q' "$@")"
    [ -n "$dry" ] || "$@"
}

say() {
    [ -n "$dry" ] || echo "$*"
}

live() { # for what changes the machine outside our folders
    [ -n "$stage" ] || run "$@"
}

parse() {
    action=${1:-} service=${2:-}
    case $action in install | update | uninstall) ;; -h | --help) usage 0 ;; *) usage ;; esac
    case $action-$service in *-asr | *-tts | uninstall-all) ;; *) usage ;; esac
    shift 2
    while [ $# -gt 0 ]; do
        case $1 in
        --prefix | --user | --gpu | --extras | --models | --stage)
            [ $# -ge 2 ] || fail "$1 needs a value"
            declare -g "${1#--}=$2"
            shift
            ;;
        --lan) lan=yes ;;
        --no-start) start="" ;;
        --purge) purge=yes ;;
        --dry-run) dry=yes ;;
        -h | --help) usage 0 ;;
        *) fail "unknown option $1 (see --help)" ;;
        esac
        shift
    done
    case $gpu in "" | nvidia | rocm) ;; *) fail "--gpu takes nvidia or rocm" ;; esac
    [ -n "$dry$stage" ] || [ "$(id -u)" = 0 ] || fail "run this with sudo (or look at it with --dry-run)"
    [ -z "$stage" ] || stage=$(realpath -m "$stage")
    venv=$stage$prefix/venv config=$stage/etc/voice-stack unit=voice-stack-$service.service
    units=$stage/etc/systemd/system state=$stage/var/lib/voice-stack cache=$stage/var/cache/voice-stack
}

read_unit() { # what the installed unit says stays
    [ -f "$units/$unit" ] || return 0
    local found
    user=$(sed -n 's/^User=//p' "$units/$unit")
    found=$(sed -n 's#^ExecStart=\(.*\)/bin/voice-stack .*#\1#p' "$units/$unit")
    venv=${found:-$venv}
    [ ! -e "$units/$unit.d/nvidia.conf" ] || gpu=nvidia
}

make_user() {
    group=$user
    [ -z "$stage" ] || return 0
    if ! id "$user" >/dev/null 2>&1; then
        run useradd --system --user-group --home-dir /var/lib/voice-stack --shell /usr/sbin/nologin "$user"
    fi
    group=$(id -gn "$user" 2>/dev/null || echo "$user")
}

install_package() {
    [ -x "$venv/bin/python" ] || run python3 -m venv "$venv"
    [ "$gpu" != nvidia ] || extras=${extras:+$extras,}cuda
    run "$venv/bin/python" -m pip install --quiet --disable-pip-version-check "$source_dir${extras:+[$extras]}"
    [ "$gpu" != nvidia ] || run "$source_dir/scripts/onnxruntime-gpu.sh" "$venv/bin/python"
    run "$venv/bin/voice-stack" --version
}

make_folders() {
    run mkdir -p "$units" "$config" "$state/voices" "$cache"
    live chown -R "$user:$group" "$state" "$cache"
}

write_settings() { # a .env of the checkout becomes the first settings file; later edits belong to the administrator
    [ ! -e "$config/voice-stack.env" ] || return 0
    if [ ! -f "$source_dir/.env" ]; then
        run install -m 600 "$source_dir/.env.example" "$config/voice-stack.env"
        return
    fi
    # systemd knows no comments after a value, dotenv does.
    echo "+ write $config/voice-stack.env from $source_dir/.env"
    [ -n "$dry" ] || (
        umask 077
        "$venv/bin/python" - "$source_dir/.env" >"$config/voice-stack.env" <<'PY'
import sys
from dotenv import dotenv_values
for name, value in dotenv_values(sys.argv[1]).items():
    escaped = (value or "").replace("\\", "\\\\").replace('"', '\\"')
    print(f'{name}="{escaped}"')
PY
    )
}

copy_voices() {
    [ "$service" = tts ] || return 0
    local sample
    for sample in "$source_dir"/voices/*.wav "$source_dir"/voices/*.txt; do
        [ ! -f "$sample" ] || [ -e "$state/voices/${sample##*/}" ] || run cp "$sample" "$state/voices/"
    done
    live chown -R "$user:$group" "$state/voices"
}

pull_models() {
    local wanted=$models
    [ "$wanted" != default ] || case $service in asr) wanted="whisper-base diarization-community1" ;; tts) wanted=kokoro ;; esac
    [ -n "$wanted" ] || return 0
    local -a as_user=()
    [ -n "$stage" ] || as_user=(runuser -u "$user" --)
    # Not in the caller's folder, which the account may not be able to read.
    # shellcheck disable=SC2086  # a list of ids
    run "${as_user[@]}" env -C / "VOICE_STACK_CACHE=$cache" "HOME=$state" "$venv/bin/voice-stack" models pull $wanted
}

write_unit() {
    echo "+ write $units/$unit"
    if [ -z "$dry" ]; then
        sed -e "s#@VENV@#$venv#g; s#@USER@#$user#g; s#@GROUP@#$group#g; s#@CONFIG@#$config#g" \
            "$source_dir/scripts/systemd/$unit" >"$units/$unit"
    fi
    local drop
    for drop in ${gpu:+$gpu.conf} ${lan:+lan.conf}; do
        run install -D -m 644 "$source_dir/scripts/systemd/$drop" "$units/$unit.d/$drop"
    done
}

do_install() {
    make_user
    install_package
    make_folders
    write_settings
    copy_voices
    pull_models
    write_unit
    live systemctl daemon-reload
    if [ -n "$start" ]; then
        live systemctl enable "$unit"
        live systemctl restart "$unit"
    fi
    say "installed $unit; settings: $config/voice-stack.env; logs: journalctl -u ${unit%.service} -f"
}

do_update() {
    [ -e "$units/$unit" ] || [ -n "$dry" ] || fail "$unit is not installed: run scripts/install-$service.sh"
    read_unit
    make_user
    install_package
    write_unit
    live systemctl daemon-reload
    live systemctl restart "$unit"
    say "updated $unit"
}

do_uninstall() {
    local -a services=("$service")
    local -A venvs=() removed=()
    [ "$service" != all ] || services=(tts asr)
    for service in "${services[@]}"; do
        unit=voice-stack-$service.service
        read_unit
        venvs[$venv]=1 removed[$unit]=1
        live systemctl disable --now "$unit" || true
        run rm -rf "${units:?}/$unit" "${units:?}/$unit.d"
        say "removed $unit"
    done
    live systemctl daemon-reload
    [ -z "$purge" ] || purge_shared
}

purge_shared() { # what both services use: `venvs` and the folders; not while a unit other than `removed` is there
    local other
    for other in "$units"/voice-stack-*.service; do
        [ ! -e "$other" ] || [ -n "${removed[${other##*/}]:-}" ] ||
            fail "kept $venv, $config, $state and $cache: ${other##*/} uses them"
    done
    for venv in "${!venvs[@]}"; do # a unit that was edited may name another folder, such as /usr
        [ ! -f "$venv/pyvenv.cfg" ] || run rm -rf "$venv"
    done
    run rm -rf "$config" "$state" "$cache"
    say "removed the environment, settings, models and state"
}

parse "$@"
"do_$action"
