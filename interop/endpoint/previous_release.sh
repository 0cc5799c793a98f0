#!/bin/sh
# The previous release of this implementation. `previous_release.sh prepare` unpacks the newest tag v* that is not the
# present commit into $DMMP_BUILD, or what $DMMP_PREVIOUS names (a tag or commit); without one it ends with 127.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
tree="$DMMP_BUILD/previous"
if [ "${1:-}" = prepare ]; then
    cd "$here/../.."
    release=${DMMP_PREVIOUS:-}
    if [ -z "$release" ]; then
        present=$(git rev-parse HEAD)
        for tag in $(git tag --list 'v*' --sort=-version:refname); do
            [ "$(git rev-parse "$tag^{commit}")" = "$present" ] || { release=$tag; break; }
        done
    fi
    [ -n "$release" ] || { echo "no release before this one: git has no tag v* of another commit"; exit 127; }
    rm -rf "$tree"
    mkdir -p "$tree"
    git archive --format=tar "$release" dmmp | tar -x -C "$tree"
    git describe --tags --always "$release"
    exit
fi
# Without safe paths the present tree, where this is started, would come before the other one.
export PYTHONSAFEPATH=1 PYTHONPATH="$tree"
exec "$DMMP_PYTHON" "$here/ours.py"
