# Text in, text out. Each `# opt: ARGS` line of NAME.ir is one run of `lathe opt NAME.ir ARGS`; NAME.expect
# holds what all of them print, messages and exit codes included. What a run prints must read back as it is.
#
# errors.cases edits correct IR, one mistake a line: NAME|BASE|SED SCRIPT|ARGS. BASE is a file here, or
# `placed`, layer.ir after all passes.
lathe=$(realpath "$1")/lathe
cd tests/ir || exit 2
work=$(mktemp -d) && trap 'rm -rf "$work"' EXIT
status=0

# run FILE ARGS...: output, messages and exit code as one text
run() {
	"$lathe" opt "$@" >"$work/out" 2>"$work/err"
	local code=$?
	cat "$work/out"
	[ -s "$work/err" ] && sed 's/^/! /' "$work/err"
	[ $code = 0 ] || echo "! exit $code"
	return $code
}

# compare NAME: $work/got against NAME.expect
compare() {
	if [ -n "$LATHE_UPDATE" ]; then
		cp "$work/got" "$1.expect"
	elif [ ! -f "$1.expect" ]; then
		echo "$1.expect is missing (tests/run --update writes it)"
		status=1
	elif ! diff -u "$1.expect" "$work/got"; then
		echo "$1.ir: not as expected"
		status=1
	fi
}

for file in *.ir; do
	: >"$work/got"
	while read -r args; do
		echo "== lathe opt $file $args" >>"$work/got"
		run "$file" $args >>"$work/got"
		case $args in *--dot*) continue ;; esac
		cp "$work/out" "$work/again.ir"
		if ! "$lathe" opt "$work/again.ir" | cmp - "$work/again.ir"; then
			echo "$file: what 'opt $args' prints does not read back as it is"
			status=1
		fi
	done < <(sed -n 's/^# opt: *//p' "$file")
	compare "${file%.ir}"
done

"$lathe" opt layer.ir --passes all >"$work/placed.ir" || status=1
cp layer.ir plan.ir activations.ir experts.ir "$work"
: >"$work/got"
while IFS='|' read -r name base script args; do
	case $name in '#'* | '') continue ;; esac
	sed -e "$script" "$work/$base.ir" >"$work/case.ir"
	if cmp -s "$work/case.ir" "$work/$base.ir" && [ -z "$args" ]; then
		echo "errors.cases: $name changes nothing"
		status=1
	fi
	echo "== $name" >>"$work/got"
	if (cd "$work" && run case.ir --check $args) >>"$work/got"; then
		echo "errors.cases: $name is accepted"
		status=1
	fi
done <errors.cases
compare errors
exit $status
