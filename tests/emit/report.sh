# report.html of a tiny model under a plan of hostile names, and of one without a plan (tests/emit/report.py); the same
# bytes from another folder with other threads; and what the proof, the transforms and the passes have to say is there.
lathe=$(realpath "$1")/lathe
tests=$PWD/tests
work=$(mktemp -d) && trap 'rm -rf "$work"' EXIT
export PYTHONDONTWRITEBYTECODE=1
file='a<b>&"x".gguf' name='<img src=x onerror="x">'
python3 tests/reject/tinymodel.py "$work/$file" --hidden 32 --inter 64 --heads 4 --kv-heads 2 --context 16 || exit 1
mkdir "$work/elsewhere" && cp "$work/$file" "$work/elsewhere" && cd "$work" || exit 2
cat >'p&<i>.json' <<'END'
{ "lathe_plan": 1,
  "transforms": { "<img src=x onerror=\"x\">": { "hadamard": 32 }, "R2": { "hadamard": 8 }, "U\u202eV": { "hadamard": 8 },
    "R3": { "block": 32, "of": { "hadamard": 32 }, "to": 64 } },
  "apply": { "residual": "<img src=x onerror=\"x\">", "layers.*.attn.v": "R2", "layers.*.attn.qk.rope": "U\u202eV",
    "layers.0.mlp.down.in": "R3" },
  "weights": { "layers.*.{q,k,v,o,gate,up,down}": { "bits": 4, "group": 32 }, "embed": { "bits": 8, "group": 32 } },
  "activations": { "layers.*.{attn.in,attn.o.in,mlp.in,mlp.down.in}": { "bits": 8, "granularity": "token" } },
  "kv": { "bits": 8 } }
END
cp 'p&<i>.json' elsewhere
status=0
failed() {
	echo "$*"
	status=1
}
"$lathe" compile "$file" --plan 'p&<i>.json' --target c --cflags=-O0 --quiet -j 1 -o out/tiny || exit 1
(cd elsewhere && "$lathe" compile "$file" --plan 'p&<i>.json' --target c --cflags=-O0 --quiet -j 3 -o ../away/tiny) || exit 1
"$lathe" compile "$file" --target c,x86-64-v3 --emit c --quiet -o out/plain || exit 1
cmp out/tiny/report.html away/tiny/report.html || failed "another folder, other threads: other bytes"
python3 "$tests/emit/report.py" out/tiny "$file" 'p&<i>.json' "$name" || failed "with a plan"
python3 "$tests/emit/report.py" out/plain "$file" || failed "without a plan"
LC_ALL=C.UTF-8 grep -q "$(printf '\342\200\256')" out/tiny/report.html && failed "a mark that turns the order of letters"
for words in 'proved: ' '>folded</span>' '>runs</span>' '>hoisted</span>' '>fused</span>' '<code>hoist</code>' 'class="n-transform"' \
	'class="n-folded"' 'values <data'; do
	grep -qF "$words" out/tiny/report.html || failed "not there: $words"
done
grep -qF 'no plan: weights' out/plain/report.html || failed "no plan is not said"
grep -q 'n-transform"><' out/plain/report.html && failed "a transform without a plan"

# What the test looks for is what it finds: each fault by itself.
fault() {
	rm -rf bad && cp -r out/tiny bad && sed -i "$1" bad/report.html && cmp -s out/tiny/report.html bad/report.html && failed "no fault: $1"
	python3 "$tests/emit/report.py" bad "$file" 'p&<i>.json' "$name" >fault.log 2>&1 && failed "not found: $1"
}
fault 's|</h2>|</h3>|'
fault 's|id="bytes"|id="graph"|'
fault 's|--soft: #55606b|--soft: #99a0a8|'
fault 's|&lt;img|<img|'
fault 's|\(<data value="\)\([0-9]*" data-fact="kv_bytes"\)|\11\2|'
fault 's|data-kernel="embed_0|data-kernel="embed_1|'
exit $status
