# report.html in headless Chromium, all details open: at 400 and at 1600 pixels nothing is wider than the window but
# what scrolls by itself, no words of a picture leave it, and light and dark are two pictures.
for chromium in chromium chromium-browser google-chrome ''; do
	command -v "$chromium" >/dev/null 2>&1 && break
done
[ -n "$chromium" ] || { echo "skipped: no Chromium"; exit 77; }
lathe=$(realpath "$1")/lathe
work=$(mktemp -d) && trap 'rm -rf "$work"' EXIT
export PYTHONDONTWRITEBYTECODE=1
python3 tests/reject/tinymodel.py "$work/tiny.gguf" --hidden 32 --inter 64 --heads 4 --kv-heads 2 --context 16 || exit 1
cd "$work" || exit 2
cat >plan.json <<'END'
{ "lathe_plan": 1,
  "transforms": { "a name of forty letters, which has no room": { "hadamard": 32 }, "R2": { "hadamard": 8 }, "QK": { "hadamard": 8 } },
  "apply": { "residual": "a name of forty letters, which has no room", "layers.*.attn.v": "R2", "layers.*.attn.qk.rope": "QK" },
  "weights": { "layers.0.{q,k,v,o,gate,up,down}": { "bits": 4, "group": 32 }, "layers.1.{q,k,v}": { "bits": 3, "group": 32 } },
  "activations": { "layers.*.{attn.in,attn.o.in,mlp.in,mlp.down.in}": { "bits": 8, "granularity": "token" } },
  "kv": { "bits": 8 } }
END
"$lathe" compile tiny.gguf --plan plan.json --target c --emit c --quiet -o out/tiny || exit 1

# A page around it measures: a frame is as narrow as it is told, which a window is not.
python3 - out/tiny/report.html <<'END' || exit 1
import html
import sys
report = html.escape(open(sys.argv[1], encoding="utf-8").read(), quote=True)
measure = """
function measure(page) {
	var faults = [], root = page.documentElement, width = root.clientWidth, texts = page.querySelectorAll("svg text");
	page.querySelectorAll("details").forEach(function (d) { d.open = true; });
	if (root.scrollWidth > width) faults.push("the page is " + root.scrollWidth + " wide");
	page.querySelectorAll("body *").forEach(function (e) {
		var r = e.getBoundingClientRect();
		if (!r.width || e.closest(".scroll > *, pre > *, .skip, svg, script")) return;
		if (r.right > width + 1 || r.left < -1) faults.push(e.tagName + " " + e.className + " from " + r.left + " to " + r.right);
	});
	texts.forEach(function (e) {
		var r = e.getBoundingClientRect(), s = e.ownerSVGElement.getBoundingClientRect(), field = e.parentNode.querySelector("rect");
		if (!r.width) return;
		if (r.left < s.left - 12 || r.right > s.right + 12) faults.push("words leave their picture: " + e.textContent);
		var f = e.parentNode.tagName == "g" && field && field.getBoundingClientRect();
		if (f && (r.left < f.left - 1 || r.right > f.right + 1)) faults.push("words leave their field: " + e.textContent);
	});
	var style = page.defaultView.getComputedStyle(page.body), out = document.getElementById("measured");
	out.textContent = "width " + width + "; texts " + (texts.length > 20) + "; " + style.color + " on " + style.backgroundColor +
		"; faults " + faults.length + faults.slice(0, 6).map(function (f) { return "\\n" + f; }).join("");
}
"""
for width in (400, 1600):
    with open(f"measured{width}.html", "w", encoding="utf-8") as f:
        f.write(f'<!DOCTYPE html><meta charset="utf-8"><meta name="color-scheme" content="light dark"><script>{measure}</script>'
                f'<pre id="measured"></pre><iframe style="width:{width}px;height:900px;border:0" '
                f'onload="measure(this.contentDocument)" srcdoc="{report}"></iframe>')
END

# browser WIDTH THEME OPTIONS...: 0 is dark.
browser() {
	local width=$1 theme=$2
	shift 2
	timeout 300 "$chromium" --headless --no-sandbox --disable-gpu --disable-dev-shm-usage --hide-scrollbars \
		--user-data-dir="$work/profile" --force-device-scale-factor=1 --window-size="$width,900" \
		--blink-settings=preferredColorScheme="$theme" "$@" 2>chromium.log
}
status=0
for look in '400 1 light' '1600 0 dark'; do
	read -r width theme name <<<"$look"
	browser 1700 "$theme" --dump-dom "file://$work/measured$width.html" >dom.html
	sed -n '/<pre id="measured">/,/<\/pre>/{s/.*<pre id="measured">//;s/<\/pre>.*//;p}' dom.html >"$name.measured"
	grep -q "^width $width; texts true; .*; faults 0$" "$name.measured" || {
		echo "$width pixels, $name:"
		cat "$name.measured"
		[ -s "$name.measured" ] || tail -5 chromium.log
		status=1
	}
	browser 1000 "$theme" --screenshot="$work/$name.png" "file://$work/out/tiny/report.html" >/dev/null
	[ -s "$name.png" ] || { echo "no picture of $name"; status=1; }
done
[ "$(sed 's/.*true; //' light.measured)" != "$(sed 's/.*true; //' dark.measured)" ] || { echo "dark has the colours of light"; status=1; }
cmp -s light.png dark.png && { echo "dark looks like light"; status=1; }
exit $status
