# What the scripts share. Sourced, not run.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
deps="$root/.deps"
cd "$root"

step() { printf '==> %s\n' "$*"; }

# fail MESSAGE [REMEDY]
fail() {
    printf 'error: %s\n' "$1" >&2
    [ $# -gt 1 ] && printf '       %s\n' "$2" >&2
    exit 1
}

# Everything that the package manager keeps stays inside the checkout.
swift_places=(
    --cache-path "$root/.build/swiftpm/cache"
    --config-path "$root/.build/swiftpm/configuration"
    --security-path "$root/.build/swiftpm/security"
)
export CLANG_MODULE_CACHE_PATH="$root/.build/module-cache"

need_swift() {
    command -v swift >/dev/null || fail "swift is not installed" \
        "Install Swift 6.1 or newer for Linux (swift.org, Install) and put it on the PATH."
    local version
    version=$(swift --version 2>/dev/null | sed -n 's/.*Swift version \([0-9]*\.[0-9]*\).*/\1/p' | head -n 1)
    case "$version" in
        6.[1-9]* | [7-9].* | [1-9][0-9].*) ;;
        *) fail "Swift ${version:-of an unknown version} is too old" "Install Swift 6.1 or newer." ;;
    esac
}

# need_packages PACKAGE... : installs what is missing with apt, and asks for rights only then.
need_packages() {
    local missing=() package
    for package in "$@"; do
        dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
    done
    [ ${#missing[@]} -eq 0 ] && return
    command -v apt-get >/dev/null || fail "these packages are missing: ${missing[*]}" \
        "This is not Debian or Ubuntu: install their counterparts by hand."
    local as_root=()
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null || fail "these packages are missing: ${missing[*]}" \
            "Run as root: apt-get install ${missing[*]}"
        as_root=(sudo)
    fi
    step "installing with apt: ${missing[*]}"
    local log
    log=$(mktemp)
    if ! "${as_root[@]}" apt-get update >"$log" 2>&1 ||
        ! "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
            apt-get install -y --no-install-recommends "${missing[@]}" >>"$log" 2>&1; then
        tail -n 15 "$log" >&2
        fail "apt could not install ${missing[*]}" "The whole output is in $log."
    fi
    rm -f "$log"
}
