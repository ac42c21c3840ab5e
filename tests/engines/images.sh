# shellcheck shell=bash
# The images of tests/images under the official names, from Debian's packages: no registry of images may be in reach.

label=scalectl.tests.key
suite=trixie
base=debian:$suite-slim
# Where a proxy reads along, its certificate is among the host's.
certificates=/etc/ssl/certs/ca-certificates.crt

# Folders of tests/images, what others are built on first.
folders=(python nginx postgres redis rabbitmq prometheus node)
declare -A names=(
    [python]=python:3.13-slim
    [nginx]=nginx:1.30
    [postgres]=postgres:17
    [redis]=redis:8
    [rabbitmq]=rabbitmq:4-management
    [prometheus]=prom/prometheus:v2.53.3
    [node]=node:24-slim
)

list_images() {
    local folder
    for folder in "${folders[@]}"; do echo "${names[$folder]}"; done
}

base_key() { { declare -f make_base unpack_base && cat "$certificates"; } | digest; }

# image_key FOLDER: of all that the image is made from.
image_key() {
    local file parent
    {
        base_key
        parent=$(sed -n 's/^FROM \([^ :]*\).*/\1/p' "tests/images/$1/Dockerfile" | head -n 1)
        if [ "$parent" != debian ]; then image_key "$parent"; fi
        find "tests/images/$1" -type f | sort | while read -r file; do
            stat -c '%n %a' "$file"
            cat "$file"
        done
    } | digest
}

# made NAME KEY
made() { [ "$(docker image inspect --format "{{index .Config.Labels \"$label\"}}" "$1" 2>/dev/null)" = "$2" ]; }

# unpack_base FOLDER
unpack_base() {
    [ -e "$1.complete" ] && return
    only_root "debootstrap, which makes $base"
    needs debootstrap debootstrap
    say "making $base with debootstrap"
    rm -rf "$1"
    debootstrap --variant=minbase --include=ca-certificates $suite "$1" >"$1.log" 2>&1 ||
        fail_with "$1.log" "debootstrap failed"
    touch "$1.complete"
}

# make_base KEY: Debian as small as the official image. No service starts, no documentation, no package cache.
make_base() {
    local folder
    folder=$docker_state/base-$(declare -f unpack_base | digest)
    unpack_base "$folder"
    printf '#!/bin/sh\nexit 101\n' >"$folder$policy"
    chmod 755 "$folder$policy"
    printf '%s\n' force-unsafe-io 'path-exclude /usr/share/doc/*' 'path-exclude /usr/share/man/*' \
        'path-exclude /usr/share/locale/*' >"$folder/etc/dpkg/dpkg.cfg.d/slim"
    # A mirror that stands still for a while is good enough here.
    printf '%s\n' 'APT::Install-Recommends "false";' 'Acquire::Languages "none";' \
        'Acquire::Check-Valid-Until "false";' >"$folder/etc/apt/apt.conf.d/slim"
    cp "$certificates" "$folder$certificates"
    tar -C "$folder" --numeric-owner -c --exclude './var/cache/apt/*' --exclude './var/lib/apt/lists/*' \
        --exclude './usr/share/doc/*' --exclude './usr/share/man/*' --exclude './usr/share/locale/*' . |
        docker import --change 'CMD ["bash"]' --change "LABEL $label=$1" - $base >/dev/null
}

# make_image FOLDER KEY: built and checked, and only then named, so that a name is a promise.
make_image() {
    local name=${names[$1]} log=$docker_state/build-$1.log id=$docker_state/build-$1.id start=$SECONDS
    say "building $name"
    DOCKER_BUILDKIT=0 docker build --network host --force-rm --label "$label=$2" --iidfile "$id" "tests/images/$1" \
        >"$log" 2>&1 || fail_with "$log" "building $name failed"
    tests/images/check "$1" "$(cat "$id")" >"$log" 2>&1 || fail_with "$log" "$name does not do what it should"
    docker tag "$(cat "$id")" "$name"
    say "$name: built and checked in $((SECONDS - start)) s"
}

# An engine that is not ours has its user's images: those stay, and the official ones can perhaps be pulled.
present_or_pulled() {
    if docker image inspect "$1" >/dev/null 2>&1; then return; fi
    say "pulling $1"
    docker pull --quiet "$1" >/dev/null 2>&1
}

make_images() {
    local folder key whose base_key_now any=false
    whose=$(status)
    base_key_now=$(base_key)
    for folder in "${folders[@]}"; do
        if [ "$whose" = foreign ] && present_or_pulled "${names[$folder]}"; then continue; fi
        key=$(image_key "$folder")
        if made "${names[$folder]}" "$key"; then continue; fi
        made $base "$base_key_now" || make_base "$base_key_now"
        make_image "$folder" "$key"
        any=true
    done
    # Only those of ours that lost their name.
    if $any; then docker image prune --force --filter "label=$label" >/dev/null; fi
}
