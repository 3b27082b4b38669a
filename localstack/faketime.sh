#!/usr/bin/env bash
# Prints the path of libfaketime's library for threaded programs, from the system or from the cache.
#
# What is not installed comes as Debian's package, through apt, so its mirrors and proxies apply; nothing is installed.
# The cache is ${DOCLOCK_CACHE:-${XDG_CACHE_HOME:-~/.cache}/doclock}.
set -euo pipefail

fail() {
    printf 'faketime.sh: %s\n' "$@" >&2
    exit 1
}

# found FOLDER...: prints the library if it is below one of them.
found() {
    local folder library
    for folder in "$@"; do
        for library in "$folder"/faketime/libfaketimeMT.so.1 "$folder"/*/faketime/libfaketimeMT.so.1; do
            if [ -f "$library" ]; then
                echo "$library"
                return
            fi
        done
    done
    return 1
}

[ "$(uname -s)" = Linux ] || fail "the tests preload libfaketime on Linux only, this is $(uname -s)"
cache=${DOCLOCK_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/doclock}
mkdir -p "$cache"
cache=$(cd "$cache" && pwd)
home=$cache/faketime
if found /usr/lib /usr/local/lib /usr/lib64 "$home/usr/lib"; then
    exit
fi

instead='install libfaketime (apt-get install faketime, dnf install libfaketime)'
command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || fail 'libfaketime is missing' "$instead"
work=$(mktemp -d "$cache/fetching.XXXXXX")
trap 'rm -rf "$work"' EXIT
# apt downloads into the current folder, as a user of its own if it is run by root.
chmod 755 "$work"
# download APT-OPTION...
download() {
    (cd "$work" && apt-get -qq -o APT::Sandbox::User=root "$@" download libfaketime >&2)
}
# A machine may have no list of packages yet: then one of our own, which needs no rights and changes nothing.
if ! download 2>/dev/null; then
    mkdir -p "$work/apt/lists/partial" "$work/apt/cache/archives/partial"
    own=(-o "Dir::State::lists=$work/apt/lists" -o "Dir::Cache=$work/apt/cache")
    apt-get -qq -o APT::Sandbox::User=root "${own[@]}" update >&2 && download "${own[@]}" ||
        fail 'apt-get could not download libfaketime' "$instead"
fi
dpkg-deb -x "$work"/libfaketime_*.deb "$work/faketime"
# Where another run was first, mv puts this copy inside theirs, and it goes away again.
[ -d "$home" ] || mv "$work/faketime" "$home"
rm -rf "$home/faketime"
found "$home/usr/lib" || fail 'the package has no libfaketimeMT.so.1' "$instead"
