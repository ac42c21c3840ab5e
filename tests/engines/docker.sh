# shellcheck shell=bash
# The Docker engine on the default socket.

docker_state=$state/docker
socket=/var/run/docker.sock
docker_pid=$runtime/docker.pid
docker_word=$docker_state/daemon.json

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
  "pidfile": "$docker_pid",
  "hosts": ["unix://$socket"],
  "bip": "172.19.0.1/24",
  "default-address-pools": [{"base": "172.20.0.0/14", "size": 24}],
  "storage-driver": "overlay2",
  "live-restore": false
}
JSON
}

# forget_killed PIDFILE WORD EXEC-ROOT: a dockerd that was killed leaves its pid and its containerd's. The next one
# waits for those, even for processes that ended and were not reaped yet.
forget_killed() {
    local containerd=$3/containerd/containerd.pid
    runs "$1" "$2" || rm -f "$1"
    runs "$containerd" "$3" || rm -f "$containerd"
}

start_engine() {
    only_root "a Docker engine, and none answers (set DOCKER_HOST for one that is elsewhere)"
    needs dockerd docker.io iptables iptables
    keep_packets_here
    mkdir -p "$docker_state" "$runtime"
    configuration >"$docker_word"
    forget_killed "$docker_pid" "$docker_word" "$runtime/docker"
    say "starting dockerd on $socket"
    daemon "$docker_state/dockerd.log" dockerd --config-file "$docker_word"
    answers_or_fails dockerd "$docker_state/dockerd.log" answers
}

engine() {
    answers && return
    [ -z "${DOCKER_HOST:-}" ] || fail "no Docker engine answers at DOCKER_HOST=$DOCKER_HOST"
    start_engine
}

# A killed one leaves its containers as well: its successor ends them.
stop_engine() {
    if [ -e "$docker_pid" ] && ! runs "$docker_pid" "$docker_word"; then start_engine; fi
    end "$docker_pid" "$docker_word"
}

restart() {
    [ "$(status)" = ours ] || fail "tests/docker started no engine here"
    stop_engine
    start_engine
}
