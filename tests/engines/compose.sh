# shellcheck shell=bash
# docker compose, the peer that `up` is compared with.

compose_version=v5.0.2

# Also a plugin of the docker command, for DOCKER_CONFIG=…/scalectl-tests/docker-config. The user's own stays as it is.
compose() {
    local program=$state/bin/docker-compose-$compose_version plugins=$state/docker-config/cli-plugins build
    if [ ! -x "$program" ]; then
        have go || fail "docker compose is built with Go, and there is none (install Go 1.24 or newer)"
        say "building docker compose $compose_version"
        build=$(mktemp -d)
        GOBIN=$build CGO_ENABLED=0 nice go install \
            -ldflags "-s -w -X github.com/docker/compose/v5/internal.Version=$compose_version" \
            "github.com/docker/compose/v5/cmd@$compose_version" >"$state/compose.log" 2>&1 9>&- ||
            fail_with "$state/compose.log" "building docker compose failed"
        mkdir -p "$state/bin"
        mv "$build/cmd" "$program"
        rmdir "$build"
    fi
    mkdir -p "$plugins"
    ln -sf "$program" "$plugins/docker-compose"
    echo "$program"
}
