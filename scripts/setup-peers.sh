#!/usr/bin/env bash
# Installs what `make bench-peers` holds dmmp against: what this system's registries have of it.
# What cannot be installed is named; the bench then leaves it out and says so.
set -euo pipefail
cd "$(dirname "$0")/.."

packages=(openvpn n2n tinc smcroute zerotier-one)

say() { printf 'setup-peers: %s\n' "$*"; }

if [ "$(id -u)" -eq 0 ]; then
    as_root=()
else
    as_root=(sudo -n)
fi

is_installed() {
    command -v dpkg-query >/dev/null || return 1
    [ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

is_known() { apt-cache show "$1" >/dev/null 2>&1; }

missing=()
for package in "${packages[@]}"; do
    is_installed "$package" || missing+=("$package")
done
if [ ${#missing[@]} -gt 0 ]; then
    if ! command -v apt-get >/dev/null; then
        say "no apt-get here; please install: ${missing[*]}"
    else
        "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get update -qq || true
        for package in "${missing[@]}"; do
            if ! is_known "$package"; then
                say "$package: this system's registry does not have it"
                continue
            fi
            say "installing $package"
            # No daemon is started by its mere installation: in this runlevel invoke-rc.d refuses.
            "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 \
                apt-get install -y -qq --no-install-recommends "$package" >/dev/null </dev/null ||
                say "$package cannot be installed"
        done
    fi
fi
if ! .venv/bin/python -c 'import zenoh' >/dev/null 2>&1; then
    say "installing eclipse-zenoh into .venv"
    .venv/bin/python -m pip install --quiet --disable-pip-version-check 'eclipse-zenoh>=1.0' ||
        say "eclipse-zenoh cannot be installed"
fi
