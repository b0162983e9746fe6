# The static decode and the stateful model of a layer, as text: npu_decode.expect, npu_stateful.expect. The model's name
# holds a digest of its inputs, so it is left out. Usage: npu_xml.sh BUILD
. tests/lib.sh
work=$(mktemp -d) && trap 'rm -rf "$work"' EXIT
status=0
python3 -B - "$work" <<'END' || exit 1
import json, sys
sys.path.insert(0, "tests/reject")
from tinymodel import gguf_model
with open(sys.argv[1] + "/model.gguf", "wb") as f:
    f.write(gguf_model(hidden=32, inter=96, layers=1, heads=4, kv_heads=2, context=16, arch="qwen3").bytes())
plan = {"lathe_plan": 1, "apply": {"layers.0.mlp.down.in": {"hadamard": 96, "base": {"paley1": 11}}},
        "weights": {"layers.0.{q,k,v,o}": {"bits": 4, "group": 16}, "layers.0.{gate,up}": {"bits": 4, "group": "row"},
                    "layers.0.down": {"bits": 4, "group": 32, "scheme": "asymmetric"}}}
with open(sys.argv[1] + "/plan.json", "w") as f:
    json.dump(plan, f)
END
"$1/lathe" compile "$work/model.gguf" --plan "$work/plan.json" --target npu,c --emit c --quiet --npu-chunk 8 -o "$work/net" ||
	exit 1
for pair in decode:npu_decode stateful:openvino_model; do
	golden=tests/emit/npu_${pair%:*}.expect
	sed 's/<net name="[^"]*"/<net name=""/' "$work/net/npu/${pair#*:}.xml" >"$work/got"
	if [ -n "${LATHE_UPDATE:-}" ]; then
		cp "$work/got" "$golden"
	elif [ ! -f "$golden" ]; then
		echo "$golden is missing (tests/run --update writes it)"
		status=1
	else
		diff -u "$golden" "$work/got" || status=1
	fi
done
exit $status
