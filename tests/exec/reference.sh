# The contract interpreter against a second statement of the contract, in Python (reference.py): equal bits.
build=${1:?usage: reference.sh BUILD}
command -v python3 >/dev/null || { echo "skipped: no python3"; exit 77; }
[ -x "$build/lathe" ] || { echo "no program $build/lathe"; exit 1; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 tests/exec/reference.py "$build/lathe" "$work"
