#!/usr/bin/env bash
# The servers of compose.yaml without Docker, on fixed ports, until they are stopped.
#
#   eval "$(localstack/servers.sh start)"   starts what is not running; sets the tests' URLs
#   localstack/servers.sh status            which of them run
#   localstack/servers.sh stop              stops them and deletes their data
#
# The tests need none of this: they start their own servers. These are for the examples, for a
# debugger, and for running the tests again and again without the servers' start time.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
home=${DOCLOCK_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/doclock}/servers
mongodb_ports='27117 27118 27119'
dynamodb_port=8100

fail() {
    printf 'servers.sh: %s\n' "$@" >&2
    exit 1
}

# The pid file alone proves nothing: after a reboot its number belongs to someone else.
pid_of() {
    local pid
    pid=$(cat "$home/$1/pid" 2>/dev/null) || return 1
    case $(ps -p "$pid" -o args= 2>/dev/null) in
    *"$home/$1/"*) echo "$pid" ;;
    *) return 1 ;;
    esac
}

# launch NAME COMMAND...: the command has a path below $home/NAME/ among its arguments.
launch() {
    local name=$1
    shift
    pid_of "$name" >/dev/null && return
    mkdir -p "$home/$name/data"
    nohup "$@" </dev/null >"$home/$name/log" 2>&1 &
    echo $! >"$home/$name/pid"
}

# await NAME PORT: until the port accepts, for at most 30 s.
await() {
    local attempt
    for attempt in $(seq 300); do
        if (exec 3<>"/dev/tcp/127.0.0.1/$2") 2>/dev/null; then
            return
        fi
        pid_of "$1" >/dev/null || break
        sleep 0.1
    done
    tail -n 20 "$home/$1/log" >&2
    fail "$1 does not answer on port $2; its log is above"
}

start() {
    local mongod lib port hosts=
    command -v python3 >/dev/null || fail 'python3 is missing: apt-get install python3'
    mongod=$("$here/fetch.sh" mongod)
    lib=$("$here/fetch.sh" dynamodb-local)
    for port in $mongodb_ports; do
        launch "mongod-$port" "$mongod" --dbpath "$home/mongod-$port/data" --port "$port" \
            --bind_ip 127.0.0.1 --replSet doclock --nounixsocket --wiredTigerCacheSizeGB 0.25 \
            --oplogSize 128 --setParameter ttlMonitorSleepSecs=1
        hosts="$hosts 127.0.0.1:$port"
    done
    launch dynamodb-local java "-Djava.io.tmpdir=$home/dynamodb-local/data" "-Djava.library.path=$lib" \
        -cp "$lib/*" com.amazonaws.services.dynamodbv2.local.main.ServerRunner \
        -inMemory -sharedDb -disableTelemetry -port "$dynamodb_port"
    for port in $mongodb_ports; do
        await "mongod-$port" "$port"
    done
    # shellcheck disable=SC2086 # one word per host
    python3 "$here/replset.py" doclock $hosts
    await dynamodb-local "$dynamodb_port"
    hosts=${hosts# }
    echo "export DOCLOCK_TEST_MONGODB_URL='mongodb://${hosts// /,}/?replicaSet=doclock'"
    echo "export DOCLOCK_TEST_DYNAMODB_URL='http://127.0.0.1:$dynamodb_port'"
}

names() {
    local port
    for port in $mongodb_ports; do
        echo "mongod-$port"
    done
    echo dynamodb-local
}

# Their data goes with them, so nothing is gained by a clean shutdown (15 s for a mongod).
stop() {
    local name pid
    for name in $(names); do
        if pid=$(pid_of "$name"); then
            kill -9 "$pid"
            while pid_of "$name" >/dev/null; do # a zombie is nobody
                sleep 0.1
            done
        fi
    done
    rm -rf "$home"
}

status() {
    local name pid missing=0
    for name in $(names); do
        if pid=$(pid_of "$name"); then
            echo "$name: running, pid $pid, log $home/$name/log"
        else
            echo "$name: not running"
            missing=1
        fi
    done
    return $missing
}

case ${1:-} in
start | stop | status) "$1" ;;
*) fail 'usage: localstack/servers.sh start|stop|status' ;;
esac
