# What an artefact may cost: text of the library under 300 KB an ISA level, a compile under 1.5 times the model file's
# size in memory.
. tests/lib.sh
folder=$(artefact smollm2 --target x86-64-v4,x86-64-v3,c) || exit
status=0
while read -r object bytes; do
	echo "$object: $bytes bytes of text"
	[ "$bytes" -lt 300000 ] || status=1
done <<END
$(size -A "$folder/libsmollm2.a" | awk '/^[^ ]+\.o / { object = $1 } /^\.text/ { text[object] += $2 }
	END { for (o in text) print o, text[o] }' | sort)
END
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 - "$LATHE_BUILD/lathe" "$LATHE_MODELS/$model_name" "$work/smollm2" <<'END' || status=1
import os, subprocess, sys, time
lathe, model, out = sys.argv[1:]
begin = time.monotonic()
child = subprocess.Popen([lathe, "compile", model, "--target", "c", "--emit=c", "-o", out], stdout=subprocess.DEVNULL)
_, status, usage = os.wait4(child.pid, 0)
limit = 1.5 * os.path.getsize(model)
print(f"compile without the C compiler: {time.monotonic() - begin:.1f} s, {usage.ru_maxrss * 1024 / 1e6:.0f} MB of {limit / 1e6:.0f} MB")
sys.exit(status != 0 or usage.ru_maxrss * 1024 > limit)
END
exit $status
