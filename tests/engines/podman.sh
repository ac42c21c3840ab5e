# shellcheck shell=bash
# Podman's service: another engine with Docker's API.

podman_state=$state/podman
podman_socket=$runtime/podman.sock
podman_pid=$runtime/podman.pid
podman_word=unix://$podman_socket

# Its storage and its settings are its own; the user's are not read.
podman_configuration() {
    cat <<TOML
[containers]
oom_score_adj = 0

[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "tests"
tmp_dir = "$runtime/podman/tmp"
volume_path = "$podman_state/volumes"

[engine.runtimes]
tests = ["$podman_state/runc-without-limits"]

[network]
network_backend = "netavark"
network_config_dir = "$podman_state/networks"
default_subnet = "172.27.255.0/24"
default_subnet_pools = [{base = "172.27.0.0/16", size = 24}]
TOML
}

podman_storage() {
    cat <<TOML
[storage]
driver = "overlay"
graphroot = "$podman_state/root"
runroot = "$runtime/podman/run"
TOML
}

ours_podman() {
    CONTAINERS_CONF="$podman_state/containers.conf" CONTAINERS_STORAGE_CONF="$podman_state/storage.conf" \
        CONTAINERS_REGISTRIES_CONF="$podman_state/registries.conf" podman "$@"
}

podman_answers() { [ "$(curl -s --unix-socket "$podman_socket" http://podman/_ping)" = OK ]; }

podman_start() {
    only_root Podman
    needs podman podman /usr/lib/podman/netavark netavark /usr/lib/podman/aardvark-dns aardvark-dns runc runc curl curl
    keep_packets_here
    mkdir -p "$podman_state/networks" "$runtime/podman"
    # A copy: containers outlive a checkout.
    install -m 755 tests/engines/runc-without-limits "$podman_state/"
    podman_configuration >"$podman_state/containers.conf"
    podman_storage >"$podman_state/storage.conf"
    # An image that is not there is looked up nowhere.
    echo 'unqualified-search-registries = []' >"$podman_state/registries.conf"
    say "starting Podman's service on $podman_socket"
    CONTAINERS_CONF="$podman_state/containers.conf" CONTAINERS_STORAGE_CONF="$podman_state/storage.conf" \
        CONTAINERS_REGISTRIES_CONF="$podman_state/registries.conf" \
        daemon "$podman_state/log" podman system service --time=0 "$podman_word"
    echo "$daemon_pid" >"$podman_pid"
    answers_or_fails "Podman's service" "$podman_state/log" podman_answers
}

# podman_has NAME: under Docker Hub's full name, with the same id.
podman_has() {
    [ "sha256:$(ours_podman image inspect --format '{{.Id}}' "$(full_name "$1")" 2>/dev/null)" = "$(docker_id "$1")" ]
}

docker_id() { docker image inspect --format '{{.Id}}' "$1"; }

full_name() {
    case $1 in
    */*) echo "docker.io/$1" ;;
    *) echo "docker.io/library/$1" ;;
    esac
}

# Loaded, a short name becomes localhost/…; pulled, it would be Docker Hub's: both are there.
podman_images() {
    local name missing=()
    for name in $base $(list_images); do
        podman_has "$name" || missing+=("$name")
    done
    [ ${#missing[@]} -eq 0 ] && return
    say "copying ${missing[*]}"
    docker save "${missing[@]}" | ours_podman load --quiet >/dev/null
    for name in "${missing[@]}"; do
        ours_podman tag "$(docker_id "$name")" "$(full_name "$name")"
    done
    ours_podman image prune --force --filter "label=$label" >/dev/null
}

podman_up() {
    up
    runs "$podman_pid" "$podman_word" || podman_start
    podman_images
    echo "DOCKER_HOST=$podman_word"
}

podman_down() {
    if runs "$podman_pid" "$podman_word"; then
        # Its containers would outlive it.
        ours_podman rm --all --force --volumes >/dev/null
        end "$podman_pid" "$podman_word"
    fi
}
