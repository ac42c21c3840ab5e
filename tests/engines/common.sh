# shellcheck shell=bash
# What the scripts of the tests share: waiting, processes, packages.

state=${XDG_CACHE_HOME:-$HOME/.cache}/scalectl-tests
# Sockets and pids: a socket's path has 108 bytes.
runtime=/run/scalectl-tests
policy=/usr/sbin/policy-rc.d

fail() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 1
}

# wait_for SECONDS COMMAND...
wait_for() {
    local deadline=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        [ $SECONDS -lt $deadline ] || return 1
        sleep 0.1
    done
}

# fail_with LOG MESSAGE
fail_with() {
    tail -n 20 "$1" >&2
    fail "$2; the end of $1 is above"
}

# Runs what follows while no other tests/docker does.
exclusively() {
    mkdir -p "$state/docker"
    exec 9>"$state/docker/lock"
    if ! flock -n 9; then
        say "waiting for another tests/docker"
        flock 9
    fi
    "$@"
}

# daemon LOG COMMAND...: in a session of its own, without the lock.
daemon() {
    local log=$1
    shift
    setsid nohup "$@" >>"$log" 2>&1 </dev/null 9>&- &
    daemon_pid=$!
}

# answers_or_fails NAME LOG COMMAND...: waits until the daemon just started answers.
answers_or_fails() {
    local name=$1 log=$2 deadline=$((SECONDS + 60))
    shift 2
    until "$@" >/dev/null 2>&1; do
        kill -0 "$daemon_pid" 2>/dev/null || fail_with "$log" "$name ended at its start"
        [ $SECONDS -lt $deadline ] || fail_with "$log" "$name did not answer within 60 s"
        sleep 0.1
    done
}

# runs PIDFILE WORD: the process of the file lives, and its command line holds the word. Pids are used again.
runs() {
    local pid
    pid=$(cat "$1" 2>/dev/null) || return 1
    [ -n "$pid" ] && tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline" | grep -qF -- "$2"
}

# ended PIDFILE WORD
ended() { ! runs "$@"; }

# end PIDFILE WORD
end() {
    runs "$@" || return 0
    kill "$(cat "$1")"
    wait_for 60 ended "$@" || fail "process $(cat "$1") did not end within 60 s"
    rm -f "$1"
}

# A number for what arrives on stdin.
digest() { sha256sum | cut -c 1-16; }

free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

only_root() { [ "$(id -u)" -eq 0 ] || fail "only root can start $1"; }

may_install() {
    have apt-get || return 1
    [ "$(id -u)" -eq 0 ] || { have sudo && sudo -n true 2>/dev/null; }
}

# Debian starts a service when it installs it. The tests start their own, and the user's stay as they are.
install_quietly() (
    may_install || fail "install $* first"
    if [ ! -e "$policy" ]; then
        trap 'as_root rm -f "$policy"' EXIT
        printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
        as_root chmod 755 "$policy"
    fi
    packages "$@" -- >&2 || fail "apt-get could not install $*"
)

# needs FILE-OR-PROGRAM PACKAGE …: installs the packages of what is missing.
needs() {
    local missing=()
    while [ $# -gt 0 ]; do
        have "$1" || [ -e "$1" ] || missing+=("$2")
        shift 2
    done
    [ ${#missing[@]} -eq 0 ] || install_quietly "${missing[@]}"
}
