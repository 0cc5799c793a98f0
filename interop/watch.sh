#!/usr/bin/env bash
# Sends a film to a group, or shows one: with programs as they are, on hosts where dmmp runs.
# Usage: watch.sh send [FILE] | watch.sh view        GROUP=239.1.2.3:5004 by default.
set -euo pipefail

group=${GROUP:-239.1.2.3:5004}

die() { printf 'watch: %s\n' "$*" >&2; exit 2; }

send() {
    command -v ffmpeg >/dev/null || die "apt-get install ffmpeg"
    # The usual TTL of 1 means "this link only", so it must be said; 1316 bytes are seven packets.
    local to="udp://${group}?ttl=16&pkt_size=1316"
    if [ $# -gt 0 ]; then
        [ -r "$1" ] || die "cannot read $1"
        exec ffmpeg -hide_banner -loglevel warning -nostdin -re -stream_loop -1 -i "$1" \
            -c copy -f mpegts "$to"
    fi
    exec ffmpeg -hide_banner -loglevel warning -nostdin \
        -re -f lavfi -i testsrc2=size=1280x720:rate=25 -re -f lavfi -i sine=beep_factor=4 \
        -c:v mpeg2video -b:v 5M -c:a mp2 -f mpegts "$to"
}

view() {
    if command -v vlc >/dev/null; then
        exec vlc "udp://@${group}"
    elif command -v ffplay >/dev/null; then
        exec ffplay -hide_banner -loglevel warning "udp://${group}"
    fi
    die "apt-get install vlc, or ffmpeg for ffplay"
}

case "${1:-}" in
send) shift; send "$@" ;;
view) view ;;
*) die "send [FILE], or view" ;;
esac
