#!/bin/sh
# Puts the dissector into the personal plugin folder of Wireshark and tshark, wherever that is here.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
if ! command -v tshark >/dev/null; then
    echo "install.sh: tshark is not installed; on Debian and Ubuntu: sudo apt install tshark" >&2
    exit 1
fi
folder=$(tshark -G folders 2>/dev/null | sed -n 's/^Personal Lua Plugins:[[:space:]]*//p')
if [ -z "$folder" ]; then
    echo "install.sh: this tshark knows no Lua plugins; tshark -v should say \"with Lua\"" >&2
    exit 1
fi
mkdir -p "$folder"
cp "$here/dmmp.lua" "$folder/dmmp.lua"
echo "$folder/dmmp.lua"
