# Artefacts under plans: every site, every kind of transform, mixed formats. Rotated f32 gives the unrotated f32's logits, the
# bit contract holds, and no transform stands alone. Usage: long_plans.sh BUILD
. tests/lib.sh
work=$(mktemp -d) && trap 'rm -rf "$work"' EXIT
python3 -B tests/exec/long_plans.py tiny "$LATHE_BUILD/lathe" "$work" || exit 1
model=${LATHE_MODELS:-}/$model_name
if [ -f "$model" ]; then
	python3 -B tests/exec/long_plans.py smollm2 "$LATHE_BUILD/lathe" "$work" "$model" || exit 1
else
	echo "without SmolLM2: no $model_name in LATHE_MODELS"
fi
