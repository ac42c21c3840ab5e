# shellcheck shell=bash
# The Docker engine on the default socket.

docker_state=$state/docker
socket=/var/run/docker.sock

answers() { docker version --format '{{.Server.Version}}' >/dev/null 2>&1; }

status() {
    local data
    data=$(docker info --format '{{.DockerRootDir}}' 2>/dev/null) || data=
    case $data in
    "$docker_state/data") echo ours ;;
    "") echo none ;;
    *) echo foreign ;;
    esac
}

# No packet to a container that is gone may leave this machine: living networks have more specific routes.
keep_packets_here() {
    needs ip iproute2
    ip route replace unreachable 172.16.0.0/12 metric 4278198272
}

configuration() {
    cat <<JSON
{
  "data-root": "$docker_state/data",
  "exec-root": "$runtime/docker",
  "pidfile": "$runtime/docker.pid",
  "hosts": ["unix://$socket"],
  "bip": "172.19.0.1/24",
  "default-address-pools": [{"base": "172.20.0.0/14", "size": 24}],
  "storage-driver": "overlay2",
  "live-restore": false
}
JSON
}

start_engine() {
    only_root "a Docker engine, and none answers (set DOCKER_HOST for one that is elsewhere)"
    needs dockerd docker.io iptables iptables
    keep_packets_here
    mkdir -p "$docker_state" "$runtime"
    configuration >"$docker_state/daemon.json"
    say "starting dockerd on $socket"
    daemon "$docker_state/dockerd.log" dockerd --config-file "$docker_state/daemon.json"
    answers_or_fails dockerd "$docker_state/dockerd.log" answers
}

engine() {
    answers && return
    [ -z "${DOCKER_HOST:-}" ] || fail "no Docker engine answers at DOCKER_HOST=$DOCKER_HOST"
    start_engine
}

stop_engine() { end "$runtime/docker.pid" "$docker_state/daemon.json"; }

restart() {
    [ "$(status)" = ours ] || fail "tests/docker started no engine here"
    stop_engine
    start_engine
}
