#!/bin/sh
# The leaf in C (interop/leaf-c): a member that feeds nobody. `leaf_c.sh prepare` builds it into $DMMP_BUILD.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
if [ "${1:-}" = prepare ]; then
    command -v "${CC:-cc}" >/dev/null || { echo "no C compiler"; exit 127; }
    make -s -C "$here/../leaf-c" BUILD="$DMMP_BUILD/leaf-c" >&2
    echo "built"
    exit
fi
[ "$DMMP_ROLE" = member ] || exit 127
# It puts no IP fragments together, and so leaves out what is larger than its link.
[ "$DMMP_SCENARIO" != mtu ] || exit 127
set -- --listen "[::]:$DMMP_PORT" --verbose
case $DMMP_SECURITY in
certificates) set -- "$@" --session-file "$DMMP_SESSION_FILE" --credential "$DMMP_CREDENTIAL" ;;
psk) set -- "$@" --session "$DMMP_SESSION" --secret-file "$DMMP_SECRET_FILE" ;;
none) set -- "$@" --session "$DMMP_SESSION" --security none ;;
esac
if [ "$DMMP_SECURITY" != certificates ]; then
    for point in $DMMP_RP; do set -- "$@" --rp "$point"; done
fi
exec "$DMMP_BUILD/leaf-c/dmmp-leaf" "$@" "$DMMP_GROUP" >>"$DMMP_OUTPUT"
