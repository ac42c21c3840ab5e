# shellcheck shell=bash
# A registry of images on loopback, with a password: for pulls, and for the ways in which they fail.

registry_state=$state/registry
registry_user=scalectl

registry_configuration() {
    cat <<YAML
version: 0.1
storage:
  filesystem: {rootdirectory: $registry_state/images}
  delete: {enabled: true}
http:
  addr: 127.0.0.1:$1
auth:
  htpasswd: {realm: tests, path: $registry_state/users}
YAML
}

# 401 as well is an answer.
registry_answers() { curl -s "http://127.0.0.1:$(cat "$registry_state/port")/v2/"; }

registry_start() {
    needs docker-registry docker-registry htpasswd apache2-utils curl curl openssl openssl
    mkdir -p "$registry_state/images" "$runtime"
    if [ ! -e "$registry_state/password" ]; then
        (umask 077 && openssl rand -hex 16 >"$registry_state/password")
    fi
    htpasswd -Bbc "$registry_state/users" "$registry_user" "$(cat "$registry_state/password")" 2>/dev/null
    free_port >"$registry_state/port"
    registry_configuration "$(cat "$registry_state/port")" >"$registry_state/registry.yml"
    say "starting docker-registry"
    daemon "$registry_state/log" docker-registry serve "$registry_state/registry.yml"
    echo "$daemon_pid" >"$registry_state/pid"
    answers_or_fails docker-registry "$registry_state/log" registry_answers
}

registry_up() {
    runs "$registry_state/pid" "$registry_state/registry.yml" || registry_start
    echo "REGISTRY_ADDRESS=127.0.0.1:$(cat "$registry_state/port")"
    echo "REGISTRY_USER=$registry_user"
    echo "REGISTRY_PASSWORD=$(cat "$registry_state/password")"
    # Its programs answer for that address while these variables are exported.
    echo "REGISTRY_CREDENTIAL_HELPERS=$root/tests/engines/helpers"
}

registry_down() { end "$registry_state/pid" "$registry_state/registry.yml"; }
