# A plan with every kind of activations, symmetric and asymmetric, between linears. Usage: activations.sh BUILD
. tests/lib.sh
shared=${LATHE_SHARED:-}/data
[ -f "$shared/stories260K.bin" ] || { echo "skipped: no data/stories260K.bin in LATHE_SHARED"; exit 77; }
work=$(mktemp -d) && trap 'rm -rf "$work"' EXIT
python3 -B tests/exec/activations.py "$1/lathe" "$work" "$shared/stories260K.bin" "$shared/tok512.bin"
