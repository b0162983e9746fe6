# `lathe explain` of a tiny model under two plans: its text is explain.expect (`tests/run --update` writes it); its JSON is
# JSON, counts the transforms that the IR has, and its DOT has a node for each value.
lathe=$(realpath "$1")/lathe
expect=$PWD/tests/emit/explain.expect
work=$(mktemp -d) && trap 'rm -rf "$work"' EXIT
python3 -B tests/reject/tinymodel.py "$work/tiny.gguf" --hidden 32 --inter 64 --heads 4 --kv-heads 2 --context 16 || exit 1
cd "$work" || exit 2

cat >rotated.json <<'END'
{ "lathe_plan": 1,
  "transforms": { "R1": { "hadamard": 32 }, "R2": { "hadamard": 8 }, "QK": { "hadamard": 8 }, "U": { "hadamard": 2 },
    "R3": { "block": 32, "of": { "hadamard": 32 }, "to": 64 }, "F": { "householder": [1, 2, 3, 4, 5, 6, 7, 8] } },
  "apply": { "residual": "R1", "layers.*.attn.v": "R2", "layers.*.attn.qk.rope": "QK", "layers.0.mlp.down.in": "R3",
    "layers.1.attn.in": { "block": 8, "of": "F", "to": 32 } },
  "weights": { "layers.*.{q,k,v,o,gate,up,down}": { "bits": 4, "group": 32 }, "embed": { "bits": 8, "group": 32 } },
  "activations": { "layers.*.{attn.in,attn.o.in,mlp.in,mlp.down.in}": { "bits": 8, "granularity": "token" } } }
END
cat >kept.json <<'END'
{ "lathe_plan": 1,
  "transforms": { "H": { "hadamard": 32 } },
  "apply": { "layers.*.mlp.in": { "transform": "H", "gain": "keep" }, "head.in": "H" } }
END
for plan in rotated kept; do
	echo "== $plan.json"
	"$lathe" explain tiny.gguf $plan.json 2>&1
	echo "== exit $?"
done >got
if [ -n "$LATHE_UPDATE" ]; then
	cp got "$expect"
elif ! diff -u "$expect" got; then
	echo "explain.expect: not as expected"
	exit 1
fi

for plan in rotated kept; do
	"$lathe" explain tiny.gguf $plan.json --json >$plan.explained 2>/dev/null || exit 1
	"$lathe" explain tiny.gguf $plan.json --dot >$plan.dot 2>/dev/null || exit 1
	"$lathe" compile tiny.gguf --plan $plan.json --stop-after arena >$plan.ir 2>/dev/null || exit 1
	python3 -B - $plan <<'END' || exit 1
import json, re, sys
name = sys.argv[1]
explained = json.load(open(name + ".explained"))
ir, dot = open(name + ".ir").read(), open(name + ".dot").read()
functions = explained["functions"]
online = [o for f in functions for s in f["sites"] for o in s["online"]]
assert len(online) == len(re.findall(r"= transform ", ir)) > 0, (len(online), name)
for f in functions:
    assert f["adds"] == sum(o["adds"] for s in f["sites"] for o in s["online"])
    assert f["bytes"] == sum(w["bytes"] for w in f["weights"]) > 0
    body = re.search(r"func %s .*?\n}" % re.escape(f["name"]), ir, re.S).group(0)
    assert len(f["values"]) == len(re.findall(r"^\t%\d+ = ", body, re.M))
assert dot.startswith("digraph") and dot.count("{") == dot.count("}") and "transform" in dot
END
done
