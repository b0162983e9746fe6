# The runner of a whole artefact (stories260K): what runner_artefact.py checks.
. tests/lib.sh
command -v python3 >/dev/null || { echo "skipped: no python3"; exit 77; }
folder=$(artefact stories --target x86-64-v4,x86-64-v3,c --activations f32 --kv f32) || exit
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 tests/exec/runner_artefact.py "$folder/stories" "$folder/stories.weights" "$work" "$LATHE_SHARED/data/calibration.txt"
