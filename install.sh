#!/usr/bin/env bash
# Installs scalectl from this folder: what it needs to build, the binary, shell completions, manual pages.
# Run again, it does only what is missing. tests/run uses its functions.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
dry_run=false
prefix=
with=

usage() {
    cat <<'USAGE'
Usage: ./install.sh [OPTIONS]

Builds scalectl and puts it where your shell finds it. On Debian and Ubuntu (apt-get) and on macOS (Homebrew)
it installs what the build needs and what is missing: a C compiler, Rust, Python with venv.

  --with LIST     also install: docker, node, kubectl, minikube (comma-separated)
  --prefix DIR    install into DIR/bin and DIR/share
  --dry-run       say what would be done, and do nothing
  --uninstall     remove what was installed (from --prefix, if given)
  --help          print this
USAGE
}

say() { printf '==> %s\n' "$*" >&2; }

fail() {
    printf 'install.sh: %s\n' "$*" >&2
    exit 1
}

have() { command -v "$1" >/dev/null 2>&1; }

# Runs a command, or says what it would be.
run() {
    if $dry_run; then printf 'would run: %s\n' "$*" >&2; else "$@"; fi
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        run "$@"
    elif have sudo; then
        run sudo "$@"
    else
        fail "needs root for: $* (run it as root, or install sudo)"
    fi
}

# version_at_least FOUND WANTED
version_at_least() {
    [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]
}

apt_is_fresh=false

# packages DEBIAN-PACKAGES -- HOMEBREW-PACKAGES
packages() {
    local debian=() brew=() list=debian word
    for word in "$@"; do
        case $word in
        --) list=brew ;;
        *) if [ $list = debian ]; then debian+=("$word"); else brew+=("$word"); fi ;;
        esac
    done
    if have apt-get; then
        say "installing ${debian[*]}"
        if ! $apt_is_fresh; then
            as_root env DEBIAN_FRONTEND=noninteractive apt-get update -qq
            apt_is_fresh=true
        fi
        as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${debian[@]}"
    elif have brew; then
        [ ${#brew[@]} -eq 0 ] && return
        say "installing ${brew[*]}"
        run brew install "${brew[@]}"
    else
        fail "there is neither apt-get nor Homebrew here: install ${debian[*]} (Debian's names) by hand"
    fi
}

ensure_compiler() {
    if have cc && { [ "$(uname)" = Darwin ] || [ -e /usr/include/stdio.h ]; }; then
        return
    fi
    if [ "$(uname)" = Darwin ]; then
        fail "there is no C compiler: run xcode-select --install"
    fi
    packages gcc libc6-dev
}

# The oldest Rust that builds this crate.
wanted_rust() { sed -n 's/^rust-version = "\(.*\)"/\1/p' "$here/Cargo.toml"; }

rust_is_new_enough() {
    have cargo || return 1
    local found
    # Inside the repository, for the version that its rust-toolchain.toml selects.
    found=$(cd "$here" && cargo --version 2>/dev/null | cut -d ' ' -f 2) || return 1
    [ -n "$found" ] && version_at_least "$found" "$(wanted_rust)"
}

debian_has() {
    local candidate
    candidate=$(apt-cache policy "$1" 2>/dev/null | sed -n 's/^ *Candidate: //p')
    [ -n "$candidate" ] && [ "$candidate" != "(none)" ]
}

ensure_rust() {
    # Where rustup puts it, which a shell that was open before does not know.
    case ":$PATH:" in
    *":$HOME/.cargo/bin:"*) ;;
    *) PATH="$HOME/.cargo/bin:$PATH" ;;
    esac
    rust_is_new_enough && return
    if have rustup; then
        say "updating Rust"
        run rustup toolchain install stable --profile minimal --component rustfmt --component clippy
    elif have brew && ! have apt-get; then
        packages -- rustup
        PATH="$(brew --prefix rustup)/bin:$PATH"
        run rustup default stable
    elif have apt-get; then
        as_root env DEBIAN_FRONTEND=noninteractive apt-get update -qq
        apt_is_fresh=true
        ensure_debian_rust
    else
        install_rustup
    fi
    $dry_run || rust_is_new_enough || fail "Rust $(wanted_rust) or newer is needed, and could not be installed"
}

# The distribution's rustup or Rust if new enough, else rustup from its own place.
ensure_debian_rust() {
    local version
    if debian_has rustup; then
        packages rustup
        run rustup default stable
        return
    fi
    version=$(apt-cache policy cargo | sed -n 's/^ *Candidate: \([0-9.]*\).*/\1/p')
    if [ -n "$version" ] && version_at_least "$version" "$(wanted_rust)"; then
        packages cargo rustfmt
        return
    fi
    install_rustup
}

install_rustup() {
    have curl || packages curl ca-certificates -- curl
    say "installing Rust with rustup into ~/.cargo and ~/.rustup"
    if $dry_run; then
        run sh -c "curl https://sh.rustup.rs | sh -s -- -y"
        return
    fi
    local script
    script=$(mktemp)
    if ! curl --proto '=https' --tlsv1.2 -fsS https://sh.rustup.rs -o "$script"; then
        rm -f "$script"
        fail "cannot download rustup; install Rust $(wanted_rust) or newer by other means, then run this again"
    fi
    sh "$script" -y --profile minimal --no-modify-path
    rm -f "$script"
}

python_works() {
    python3 -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

# The default template is a Python service.
ensure_python() {
    python_works && return
    packages python3 python3-venv -- python@3.13
    $dry_run || python_works || say "Python is older than 3.11: the fastapi template needs 3.11 or newer (or uv)"
}

install_extras() {
    local extra
    for extra in ${with//,/ }; do
        case $extra in
        docker) have docker && [ -S /var/run/docker.sock ] || packages docker.io -- docker ;;
        node) have node || packages nodejs npm -- node ;;
        kubectl) have kubectl || say "kubectl: https://kubernetes.io/docs/tasks/tools says how for your system" ;;
        minikube) have minikube || say "minikube: https://minikube.sigs.k8s.io/docs/start says how for your system" ;;
        *) fail "--with $extra: expected docker, node, kubectl or minikube" ;;
        esac
    done
}

build() {
    local start host
    cd "$here"
    start=$SECONDS
    if $dry_run; then
        run cargo fetch --locked
        run cargo build --release --locked
        return
    fi
    say "downloading sources"
    host=$(rustc -vV | sed -n 's/^host: //p')
    cargo fetch --locked --quiet --target "$host"
    say "downloaded in $((SECONDS - start)) s"
    start=$SECONDS
    say "compiling (some minutes the first time)"
    cargo build --release --locked --offline
    say "compiled in $((SECONDS - start)) s"
}

on_path() {
    case ":$PATH:" in
    *":$1:"*) return 0 ;;
    *) return 1 ;;
    esac
}

# Sets `prefix`, so that prefix/bin is on the path; and `bin`, which may be ~/.cargo/bin instead.
choose_folders() {
    if [ -n "$prefix" ]; then
        case $prefix in
        /*) ;;
        *) prefix=$PWD/$prefix ;;
        esac
        bin=$prefix/bin
    elif [ "$(id -u)" -eq 0 ]; then
        prefix=/usr/local
        bin=$prefix/bin
    elif $user_path_has_local; then
        prefix=$HOME/.local
        bin=$prefix/bin
    elif $user_path_has_cargo; then
        prefix=$HOME/.local
        bin=$HOME/.cargo/bin
    else
        prefix=/usr/local
        bin=$prefix/bin
    fi
}

# Root's rights only where the folder asks for them.
place() {
    local folder=$1
    shift
    while [ ! -e "$folder" ]; do folder=$(dirname "$folder"); done
    if [ -w "$folder" ]; then run "$@"; else as_root "$@"; fi
}

installed_files() {
    printf '%s\n' "$bin/scalectl" \
        "$prefix/share/bash-completion/completions/scalectl" \
        "$prefix/share/zsh/site-functions/_scalectl" \
        "$prefix/share/fish/vendor_completions.d/scalectl.fish" \
        "$prefix/share/man/man1/scalectl.1" \
        "$prefix"/share/man/man1/scalectl-*.1
}

install_files() {
    local program=$here/target/release/scalectl made page
    say "installing into $bin and $prefix/share"
    place "$bin" mkdir -p "$bin"
    place "$bin" install -m 755 "$program" "$bin/scalectl"
    made=$(mktemp -d)
    if ! $dry_run; then
        "$program" completions bash >"$made/scalectl"
        "$program" completions zsh >"$made/_scalectl"
        "$program" completions fish >"$made/scalectl.fish"
        "$program" man --quiet --output "$made/man"
    fi
    install_one "$made/scalectl" "$prefix/share/bash-completion/completions"
    install_one "$made/_scalectl" "$prefix/share/zsh/site-functions"
    install_one "$made/scalectl.fish" "$prefix/share/fish/vendor_completions.d"
    for page in "$made"/man/*.1; do install_one "$page" "$prefix/share/man/man1"; done
    rm -rf "$made"
}

install_one() {
    place "$2" mkdir -p "$2"
    place "$2" install -m 644 "$1" "$2/"
}

report() {
    local found
    $dry_run && return
    say "$("$bin/scalectl" --version) is installed in $bin"
    found=$(PATH=$user_path command -v scalectl || true)
    if [ -z "$found" ]; then
        say "$bin is not on your PATH: add it, or call $bin/scalectl"
    elif [ "$found" != "$bin/scalectl" ]; then
        say "careful: your shell finds another one first, $found"
    fi
    return 0
}

uninstall() {
    local file
    choose_folders
    while read -r file; do
        if [ -e "$file" ]; then
            say "removing $file"
            place "$(dirname "$file")" rm -f "$file"
        fi
    done < <(installed_files)
}

main() {
    local action=install user_path=$PATH user_path_has_local=false user_path_has_cargo=false bin
    while [ $# -gt 0 ]; do
        case $1 in
        --with) with=${2:?--with needs a list} && shift ;;
        --with=*) with=${1#*=} ;;
        --prefix) prefix=${2:?--prefix needs a folder} && shift ;;
        --prefix=*) prefix=${1#*=} ;;
        --dry-run) dry_run=true ;;
        --uninstall) action=uninstall ;;
        -h | --help)
            usage
            return
            ;;
        *)
            usage >&2
            fail "unknown option $1"
            ;;
        esac
        shift
    done
    # Before anything here adds to the path.
    on_path "$HOME/.local/bin" && user_path_has_local=true
    on_path "$HOME/.cargo/bin" && user_path_has_cargo=true
    if [ $action = uninstall ]; then
        uninstall
        return
    fi
    ensure_compiler
    ensure_rust
    ensure_python
    install_extras
    build
    choose_folders
    install_files
    report
}

if [ "${BASH_SOURCE[0]}" = "$0" ]; then main "$@"; fi
