#!/bin/sh
# Installs what mk/packages names and is missing or too old; costs one dpkg-query when all is there.
# For tests also the updates of Debian-Security that wait for what the programs are made of (C145).
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

# Prints the packages that are built with whose newest version is one of Debian-Security and not the
# one installed, as far as apt's lists know.  An update of a -dev package brings its library's.
updates() {
    [ "$group" = test ] || return 0
    # shellcheck disable=SC2046
    apt-cache policy $(awk '!/^#/ && $1 == "build" {print $2}' "$list") 2>/dev/null | awk '
        /^[^ ]/           { name = $1; sub(/:.*/, "", name); newest = 0 }
        /^  Installed:/   { installed = $2 }
        /^  Candidate:/   { candidate = $2 }
        /^(     | [*][*][*] )[^ ]/ { newest++ }
        /^        / && newest == 1 && /security/ && installed != "(none)" && installed != candidate {
            print name
            newest++
        }'
}

todo=$(missing)
waiting=$(updates)
[ -n "$todo$waiting" ] || exit 0

if [ "$(id -u)" = 0 ]; then
    sudo=
elif command -v sudo >/dev/null 2>&1; then
    sudo=sudo
else
    # shellcheck disable=SC2086
    echo "deps: neither root nor sudo; run as root: apt-get install" $todo $waiting >&2
    [ -z "$todo" ] && exit 0
    exit 1
fi
install() {
    echo "deps: installing $*"
    $sudo env DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends install "$@" >/dev/null
}
$sudo apt-get -qq update || [ -z "$todo" ]
if [ -n "$todo" ]; then
    # shellcheck disable=SC2086
    install $todo
fi
waiting=$(updates)
if [ -n "$waiting" ]; then
    # shellcheck disable=SC2086
    install $waiting || echo "deps: without these updates; the test of C145 will say so" >&2
fi

todo=$(missing)
if [ -n "$todo" ]; then
    # shellcheck disable=SC2086
    set -- $todo
    echo "deps: still missing or older than the fixed version that $list demands: $*" >&2
    exit 1
fi
