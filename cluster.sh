#!/usr/bin/env bash
# A Flotilla cluster on this machine: see ./cluster.sh help. Installs and builds what is missing or out of date, then hands over.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
fail() { echo "cluster.sh: $*" >&2; exit 1; }

command -v node >/dev/null || fail "Node.js 20.19 or newer is needed, but there is no node in PATH"

installed="$root/node_modules/.package-lock.json"
lock="$root/package-lock.json"
built="$root/dist/.built"

install() {
  command -v npm >/dev/null || fail "npm is needed to install dependencies, but it is not in PATH"
  echo "Installing dependencies (npm ci) ..." >&2
  (cd "$root" && npm ci --loglevel=error >&2) || fail "Installing dependencies failed"
  touch "$installed"
}

build() {
  echo "Building ..." >&2
  # The mark carries the time before the build: what changes during it is built again.
  mkdir -p "$root/dist"
  touch "$built.next"
  (cd "$root" && node_modules/.bin/tsc -p tsconfig.build.json >&2 && node dist/scripts/bundle.js >&2 && node dist/scripts/precompile.js >&2) || fail "The build failed"
  mv "$built.next" "$built"
}

up_to_date() {
  [ -e "$built" ] && [ -z "$(find "$root/src" "$root/scripts" "$root"/tsconfig*.json "$root/package.json" \
    \( -name '*.ts' -o -name '*.json' \) ! -name '*.test.ts' -newer "$built" -print -quit)" ]
}

# One at a time: a second cluster.sh waits for the first one's build. A dead holder's lock is taken over.
with_lock() {
  local holder="$root/.flotilla-build" waited=0
  until mkdir "$holder" 2>/dev/null; do
    local pid
    pid=$(cat "$holder/pid" 2>/dev/null || true)
    if { [ -n "$pid" ] && ! kill -0 "$pid" 2>/dev/null; } || [ $waited -ge 1200 ]; then rm -rf "$holder"; fi
    sleep 0.1
    waited=$((waited + 1))
  done
  echo $$ >"$holder/pid"
  trap 'rm -rf "$root/.flotilla-build"' EXIT
  "$@"
  rm -rf "$holder"
  trap - EXIT
}

prepare() {
  if [ ! -e "$installed" ] || [ "$lock" -nt "$installed" ]; then install; fi
  up_to_date || build
}

# A package from the registry has no sources: it comes built, and npm installed what it needs.
if [ -d "$root/src" ]; then
  if [ ! -e "$installed" ] || [ "$lock" -nt "$installed" ] || ! up_to_date; then with_lock prepare; fi
fi

exec node "$root/dist/scripts/cluster.js" "$@"
