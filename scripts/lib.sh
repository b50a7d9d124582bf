# shellcheck shell=bash
# Shared by the scripts beside it: where things live, and how to run a server there.
#
# Everything a server reads or writes is in one state directory outside the checkout, because the
# server runs as another user when we are root, and a checkout may be closed to that user.

set -euo pipefail
umask 022

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)

# A shell that is not a login shell often lacks rustup's directory.
command -v cargo >/dev/null || PATH=$PATH:${CARGO_HOME:-${HOME:-/root}/.cargo}/bin

say() { printf '%s: %s\n' "${0##*/}" "$*"; }
die() { say "$*" >&2; exit 1; }

STATE=${IMMUTABLE_STATE:-/var/tmp/immutable-$EUID-$(printf %s "$ROOT" | sha256sum | cut -c1-8)}
[[ ! -L $STATE ]] || die "$STATE is a symbolic link; set IMMUTABLE_STATE to a directory"
STATE=$(realpath -m -- "$STATE")
# The path goes into postgresql.conf, a socket's address and `eval`: nothing there needs quoting.
[[ $STATE =~ ^[A-Za-z0-9_./+-]+$ ]] || die "IMMUTABLE_STATE: only letters, digits and _ . / + - are possible: $STATE"

# The default place is in a directory where anyone may create names, so what we find there must be
# ours and nobody else's to write: we run programs from it.
check_own_dir() { # DIRECTORY VARIABLE
    [[ -d $1 && ! -L $1 && -O $1 ]] || die "$1 is not a directory of our own; set $2 to another"
    (((8#$(stat -c %a -- "$1") & 8#022) == 0)) || die "$1 may be written by others; set $2 to another"
}
check_state_dir() { check_own_dir "$STATE" IMMUTABLE_STATE; }
[[ ! -e $STATE ]] || check_state_dir

# Where the clusters are. tests/run may choose the directory in memory instead.
IN_MEMORY=/dev/shm/immutable-$EUID-$(printf %s "$STATE" | sha256sum | cut -c1-8)
CLUSTERS=${IMMUTABLE_CLUSTERS:-$STATE/clusters}
[[ $CLUSTERS =~ ^/[A-Za-z0-9_./+-]+$ ]] || die "IMMUTABLE_CLUSTERS: only letters, digits and _ . / + - are possible: $CLUSTERS"
for place in "$CLUSTERS" "$IN_MEMORY"; do
    [[ ! -e $place ]] || check_own_dir "$place" IMMUTABLE_CLUSTERS
done

# The major version of the distribution's PostgreSQL; scripts/setup notes which one it found.
IMMUTABLE_PG=${IMMUTABLE_PG:-$(cat "$STATE/major" 2>/dev/null || echo 15)}

# PostgreSQL refuses to run as root. `cd`, as the caller's directory may be closed to postgres.
as_server() {
    if (( EUID == 0 )); then
        (cd / && runuser -u postgres -- "$@")
    else
        (cd / && "$@")
    fi
}

# The two ways a private tree looks: the distribution's, copied, and the one of the Python wheel.
pg_bin() {
    local wheel
    for wheel in "$STATE/pg$1"/*/pginstall/bin; do
        [[ ! -d $wheel ]] || { echo "$wheel"; return; }
    done
    echo "$STATE/pg$1/lib/postgresql/$1/bin"
}
