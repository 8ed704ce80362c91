#!/bin/sh
# Installs what mk/packages names and is missing or too old; costs one dpkg-query when all is there.
# usage: mk/deps.sh [build|test|bench|bench-reader]    build = to build and run, which the others include; test is the default
set -eu
group=${1:-test}
list=$(dirname "$0")/packages

command -v dpkg-query >/dev/null 2>&1 || {
    echo "deps: this is not a Debian system; install by hand what $list names" >&2
    exit 1
}

# Prints the packages of the group that are not installed in the version needed.
missing() {
    wanted=$(awk -v g="$group" '!/^#/ && NF && ($1 == "build" || $1 == g) {print $2}' "$list")
    # shellcheck disable=SC2086
    have=$(dpkg-query -W -f='${db:Status-Status} ${Package} ${Version}\n' $wanted 2>/dev/null || true)
    printf '%s\n' "$have" | awk -v g="$group" -v list="$list" '
        $1 == "installed" { version[$2] = $3 }
        END {
            while ((getline line < list) > 0) {
                n = split(line, f, " ")
                if (n < 2 || f[1] ~ /^#/ || (f[1] != "build" && f[1] != g)) continue
                if (!(f[2] in version)) print f[2]
                else if (n > 2 && version[f[2]] != f[3]) print f[2], version[f[2]], f[3]
            }
        }' | while read -r name version lowest; do
            # Node.js from elsewhere than Debian brings its own npm.
            if [ "$name" = npm ] && command -v npm >/dev/null 2>&1; then
                continue
            fi
        if [ -z "$version" ] || ! dpkg --compare-versions "$version" ge "$lowest"; then
            echo "$name"
        fi
    done
}

todo=$(missing)
[ -n "$todo" ] || exit 0

# shellcheck disable=SC2086
set -- $todo
echo "deps: installing $*"
if [ "$(id -u)" = 0 ]; then
    sudo=
elif command -v sudo >/dev/null 2>&1; then
    sudo=sudo
else
    echo "deps: neither root nor sudo; run as root: apt-get install $*" >&2
    exit 1
fi
$sudo apt-get -qq update
$sudo env DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends install "$@" >/dev/null

todo=$(missing)
if [ -n "$todo" ]; then
    # shellcheck disable=SC2086
    set -- $todo
    echo "deps: still missing or older than the fixed version that $list demands: $*" >&2
    exit 1
fi
