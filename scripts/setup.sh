#!/usr/bin/env bash
# Sets up a checkout: the Debian packages, a virtual environment in .venv, the package in it.
# Safe to run again at any time; when nothing is to be done it takes a moment and says nothing.
set -euo pipefail
cd "$(dirname "$0")/.."

packages=(ffmpeg iperf nftables iproute2 tcpdump tshark procps gcc libc6-dev libssl-dev pkg-config valgrind)
stamp=.venv/.dmmp-set-up
index_fresh=no

say() { printf 'setup: %s\n' "$*"; }

if [ "$(id -u)" -eq 0 ]; then
    as_root=()
else
    as_root=(sudo -n)
fi

may_install() {
    command -v apt-get >/dev/null || return 1
    [ "$(id -u)" -eq 0 ] || sudo -n true 2>/dev/null
}

apt_install() {
    may_install || return 1
    say "installing $*"
    if [ "$index_fresh" = no ]; then
        # A stale or partly unreachable index may still have what is needed.
        "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get update -qq || true
        index_fresh=yes
    fi
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends "$@" >/dev/null </dev/null
}

is_installed() {
    command -v dpkg-query >/dev/null || return 1
    [ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

install_packages() {
    local missing=() still_missing=() package
    for package in "${packages[@]}"; do
        is_installed "$package" || missing+=("$package")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    # One after the other when all together fail: the demo can do without some of them.
    if ! apt_install "${missing[@]}"; then
        for package in "${missing[@]}"; do
            apt_install "$package" || still_missing+=("$package")
        done
    fi
    if [ ${#still_missing[@]} -gt 0 ]; then
        say "please install: apt-get install ${still_missing[*]}"
    fi
}

# Prints the newest Python from 3.11 on that runs and can make virtual environments.
# A mere command name proves nothing: version switchers leave commands that only complain.
find_python() {
    local candidate
    for candidate in python3.{19..11} python3; do
        if "$candidate" -c 'import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))' \
            >/dev/null 2>&1; then
            printf '%s\n' "$candidate"
            return 0
        fi
    done
    return 1
}

install_python() {
    local version
    # The interpreter may be there and only its venv module missing, as Debian ships it.
    for version in 3.{19..11}; do
        if "python$version" -c '' >/dev/null 2>&1; then
            apt_install "python$version-venv" && return 0
        fi
    done
    apt_install python3-venv && find_python >/dev/null && return 0
    for version in 3.{14..11}; do
        apt_install "python$version" "python$version-venv" 2>/dev/null && return 0
    done
    return 1
}

make_environment() {
    local python
    if ! .venv/bin/python -c 'import sys, pip; sys.exit(sys.version_info < (3, 11))' \
        >/dev/null 2>&1; then
        if ! python=$(find_python); then
            install_python || true
            if ! python=$(find_python); then
                say "please install Python 3.11 or newer with its venv module" \
                    "(Debian: apt-get install python3 python3-venv)" >&2
                exit 2
            fi
        fi
        say "making .venv with $("$python" --version)"
        "$python" -m venv --clear .venv
    fi
    say "installing dmmp and its Python packages into .venv"
    .venv/bin/python -m pip install --quiet --disable-pip-version-check -e '.[dev,interop]'
    touch "$stamp"
}

install_packages
if [ ! -e "$stamp" ] || [ pyproject.toml -nt "$stamp" ] || [ ! -x .venv/bin/dmmp ]; then
    make_environment
fi
