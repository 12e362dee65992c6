#!/usr/bin/env bash
# From nothing to a strategy of one's own, as docs/plugins.md tells it: make a project, look at it, test it, change one line,
# build, check, run, and compare with FedAvg.
#
#   examples/newcomer.sh [--lang LANGUAGE]... [COLLA_HOST]
#
# LANGUAGE: rust (the default; needs Rust through rustup) or assemblyscript (needs Node); repeatable.
# COLLA_HOST: the binary; default: the one on the path. Works in a temporary folder and leaves nothing behind.
set -euo pipefail

fail() { printf 'newcomer: %s\n' "$*" >&2; exit 1; }

# Prints a command, then runs it.
step() { printf '\n$ %s\n' "$*"; "$@"; }

languages=()
host=
while [ $# -gt 0 ]; do
  case $1 in
    --lang) [ $# -ge 2 ] || fail "--lang needs a language, rust or assemblyscript"; languages+=("$2"); shift 2 ;;
    -*) fail "unknown option $1; usage: examples/newcomer.sh [--lang LANGUAGE]... [COLLA_HOST]" ;;
    *) [ -z "$host" ] || fail "two binaries, $host and $1; give one"; host=$1; shift ;;
  esac
done
[ ${#languages[@]} -gt 0 ] || languages=(rust)
for language in "${languages[@]}"; do
  case $language in rust | assemblyscript) ;; *) fail "unknown language $language; use rust or assemblyscript" ;; esac
done

host=$(command -v "${host:-colla-host}") || fail "no such program: ${host:-colla-host}; give the path of the binary"
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
# So that every command below reads as the documentation has it, wherever the binary lies.
mkdir "$folder/bin"
ln -s "$(cd "$(dirname "$host")" && pwd)/$(basename "$host")" "$folder/bin/colla-host"
PATH=$folder/bin:$PATH
cd "$folder"

# The accuracy on the test set after the last round of a run.
accuracy() {
  local found
  found=$(awk -F: '/"test_accuracy"/ { sub(/,.*/, "", $2); print $2 + 0; exit }' "$1/summary.json")
  [ -n "$found" ] || fail "$1/summary.json has no test_accuracy"
  printf '%s' "$found"
}

# Changes one line of a file by a sed expression, shows the change, and fails if there is none.
edit() {
  cp "$1" before
  printf "\n$ sed -i '%s' %s\n" "$2" "$1"
  sed "$2" before > "$1"
  if diff before "$1"; then fail "$1 has no line that $2 would change"; fi
  [ "$(diff before "$1" | grep -c '^>')" -eq 1 ] || fail "$2 changes more than one line of $1"
  rm before
}

# Results are read from run directories; `--quiet` leaves the screen to the steps.
step colla-host --quiet --out fedavg

for language in "${languages[@]}"; do
  rule=my-$language-rule
  case $language in
    rust)
      step colla-host plugin new "$rule" --kind aggregate-rows
      source=$rule/src/lib.rs
      further='s|sum / sorted.len() as f32|1.2 * sum / sorted.len() as f32|' ;;
    assemblyscript)
      step colla-host plugin new "$rule" --kind aggregate-rows --lang assemblyscript
      source=$rule/assembly/index.ts
      further='s|return \(f32x4.div(sum, .*)\);|return f32x4.mul(f32x4.splat(1.2), \1);|' ;;
  esac
  step ls -A "$rule"
  step cat "$rule/manifest.json"
  step sed -n 1,40p "$source"
  # The template's tests state the numbers of its own method, hence before the change.
  cd "$rule"
  case $language in
    rust) step cargo test --quiet ;;
    assemblyscript) step npm ci --silent; step npm test --silent ;;
  esac
  cd "$folder"

  # A method of one's own: the winsorised mean, and a fifth of the way further.
  edit "$source" "$further"
  step colla-host plugin build "$rule"
  step colla-host plugin check "$rule/$rule.wasm"
  step colla-host --quiet --plugin "$rule/$rule.wasm" --out "with-$rule"
done

printf '\ntest accuracy after the last round:\n'
printf '%-26s%s\n' FedAvg "$(accuracy fedavg)"
for language in "${languages[@]}"; do printf '%-26s%s\n' "my-$language-rule" "$(accuracy "with-my-$language-rule")"; done
