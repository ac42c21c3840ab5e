# shellcheck shell=bash
# A second Docker engine, as remote as one machine allows: TLS with client certificates, a network namespace of its
# own, so that its published ports are not on this loopback, and a disk of its own that can be filled.

tls_state=$state/tls
tls_space=scalectl-tls
tls_link=sctl-tls
tls_here=172.18.0.1
tls_there=172.18.0.2
tls_port=2376
tls_disk=4G
tls_pid=$runtime/tls.pid
tls_word=$tls_state/daemon.json

# certificate NAME SUBJECT USAGE [SUBJECT-ALTERNATIVE-NAMES]: signed by ca.
certificate() {
    openssl req -newkey rsa:2048 -nodes -keyout "$1-key.pem" -out "$1.csr" -subj "$2" 2>/dev/null
    openssl x509 -req -in "$1.csr" -CA ca.pem -CAkey ca-key.pem -CAcreateserial -days 365 -out "$1.pem" \
        -extfile <(printf 'extendedKeyUsage=%s\n%s' "$3" "${4:+subjectAltName=$4}") 2>/dev/null
    rm "$1.csr"
}

# The client's folder has the names that DOCKER_CERT_PATH asks for: ca.pem, cert.pem, key.pem.
tls_certificates() {
    local client=$tls_state/client
    # Made anew when they have less than a day left.
    openssl x509 -checkend 86400 -noout -in "$client/cert.pem" >/dev/null 2>&1 && return
    mkdir -p "$client" "$tls_state/server"
    (
        umask 077
        cd "$tls_state/server"
        openssl req -x509 -newkey rsa:2048 -nodes -keyout ca-key.pem -out ca.pem -days 365 \
            -subj "/CN=scalectl tests" -addext keyUsage=critical,keyCertSign 2>/dev/null
        certificate server /CN=engine serverAuth "IP:$tls_there,DNS:engine"
        certificate client /CN=client clientAuth
        cp ca.pem "$client/ca.pem"
        mv client.pem "$client/cert.pem"
        mv client-key.pem "$client/key.pem"
    )
}

# rule COMMAND…: adds a rule of the firewall unless it is there.
rule() { iptables --wait "${@:1:2}" -C "${@:3}" 2>/dev/null || iptables --wait "${@:1:2}" -I "${@:3}"; }

# Builds over there reach what this machine reaches; nothing else does.
tls_network() {
    ip netns list | grep -q "^$tls_space\b" || ip netns add $tls_space
    if ! ip link show $tls_link >/dev/null 2>&1; then
        ip link add $tls_link type veth peer name eth0 netns $tls_space
        ip address add $tls_here/30 dev $tls_link
        ip link set $tls_link up
        ip -n $tls_space link set lo up
        ip -n $tls_space address add $tls_there/30 dev eth0
        ip -n $tls_space link set eth0 up
        ip -n $tls_space route add default via $tls_here
        ip -n $tls_space route add unreachable 172.16.0.0/12 metric 4278198272
    fi
    sysctl -q net.ipv4.ip_forward=1
    rule -t filter FORWARD -i $tls_link -j ACCEPT
    rule -t filter FORWARD -o $tls_link -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
    rule -t nat POSTROUTING -s $tls_there/32 ! -o $tls_link -j MASQUERADE
}

tls_unlink() {
    ip netns delete $tls_space 2>/dev/null || true
    ip link delete $tls_link 2>/dev/null || true
    iptables --wait -D FORWARD -i $tls_link -j ACCEPT 2>/dev/null || true
    iptables --wait -D FORWARD -o $tls_link -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT 2>/dev/null || true
    iptables --wait -t nat -D POSTROUTING -s $tls_there/32 ! -o $tls_link -j MASQUERADE 2>/dev/null || true
}

tls_mount() {
    mountpoint -q "$tls_state/data" && return
    needs mkfs.ext4 e2fsprogs
    mkdir -p "$tls_state/data"
    if [ ! -e "$tls_state/disk.complete" ]; then
        truncate --size $tls_disk "$tls_state/disk"
        mkfs.ext4 -q -F -m 0 "$tls_state/disk"
        touch "$tls_state/disk.complete"
    fi
    mount -o loop,discard "$tls_state/disk" "$tls_state/data"
}

tls_configuration() {
    cat <<JSON
{
  "data-root": "$tls_state/data",
  "exec-root": "$runtime/tls",
  "pidfile": "$tls_pid",
  "hosts": ["tcp://$tls_there:$tls_port"],
  "tlsverify": true,
  "tlscacert": "$tls_state/server/ca.pem",
  "tlscert": "$tls_state/server/server.pem",
  "tlskey": "$tls_state/server/server-key.pem",
  "bip": "172.24.255.1/24",
  "default-address-pools": [{"base": "172.25.0.0/16", "size": 24}],
  "storage-driver": "overlay2"
}
JSON
}

# there COMMAND…: with the engine over there as Docker's.
there() {
    env -u DOCKER_CONTEXT DOCKER_HOST="tcp://$tls_there:$tls_port" DOCKER_TLS_VERIFY=1 \
        DOCKER_CERT_PATH="$tls_state/client" "$@"
}

tls_start() {
    only_root "a second Docker engine"
    needs dockerd docker.io iptables iptables openssl openssl
    keep_packets_here
    mkdir -p "$tls_state" "$runtime"
    tls_certificates
    tls_network
    tls_mount
    tls_configuration >"$tls_word"
    forget_killed "$tls_pid" "$tls_word" "$runtime/tls"
    say "starting dockerd on tcp://$tls_there:$tls_port"
    # Not through `ip netns exec`, whose /sys has no cgroups.
    daemon "$tls_state/log" nsenter --net=/run/netns/$tls_space dockerd --config-file "$tls_word"
    answers_or_fails "the second dockerd" "$tls_state/log" there docker version
}

# Images have the same id on both.
tls_images() {
    local name missing=()
    for name in $base python:3.13-slim nginx:1.30 postgres:17 redis:8; do
        [ "$(there docker image inspect --format '{{.Id}}' "$name" 2>/dev/null)" = \
            "$(docker image inspect --format '{{.Id}}' "$name")" ] || missing+=("$name")
    done
    [ ${#missing[@]} -eq 0 ] && return
    say "copying ${missing[*]}"
    docker save "${missing[@]}" | there docker load >/dev/null
    there docker image prune --force --filter "label=$label" >/dev/null
}

tls_up() {
    up
    runs "$tls_pid" "$tls_word" || tls_start
    tls_images
    echo "DOCKER_HOST=tcp://$tls_there:$tls_port"
    echo "DOCKER_TLS_VERIFY=1"
    echo "DOCKER_CERT_PATH=$tls_state/client"
}

tls_down() {
    end "$tls_pid" "$tls_word"
    if mountpoint -q "$tls_state/data"; then umount "$tls_state/data"; fi
    if [ "$(id -u)" -eq 0 ]; then tls_unlink; fi
}
