# find_package(Lathe) and lathe_add_model, with the example: both generators, a toolchain file for another machine, what a
# change makes anew and what not, a prefix that was moved, and the library's own package, moved too. The compiler is a
# script that notes what it is asked for and optimises nothing.
. tests/lib.sh
have python3 || { echo "skipped: no python3"; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
status=0
wrong() {
	printf 'wrong: %s\n' "$*"
	status=1
}

cat >"$work/other-cc" <<END
#!/bin/sh
for word; do
	case \$word in *.c) echo "\${word##*/}" >>"$work/compiled" ;; esac
done
exec \${OTHER_CC:-cc} "\$@" -O0
END
chmod +x "$work/other-cc"
# The other machine, where there are a compiler and an emulator for one.
other=() processor=other
if have aarch64-linux-gnu-gcc && have qemu-aarch64; then
	other=(qemu-aarch64 -L /usr/aarch64-linux-gnu) processor=aarch64
else
	echo "the toolchain file's machine is this one: aarch64-linux-gnu-gcc and qemu-aarch64 are not both here"
fi
# A plan that is another text and no other plan; a model in two files, of which only the first is named.
plan() {
	printf '{"lathe_plan": 1, "weights": {"layers.*.{q,k}": {"bits": %d, "group": 32}}}%s\n' "$1" "${2-}" >"$work/plan.json"
}
plan 8
python3 -B tests/reject/tinymodel.py "$work/model" --shards 2 --hidden 64 --inter 128 --heads 4 --kv-heads 2 --context 512 || exit 1
cat >"$work/other.cmake" <<END
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR $processor)
set(CMAKE_C_COMPILER "$work/other-cc")
set(CMAKE_FIND_ROOT_PATH /nonexistent)
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
END

# build NAME; compiled: the sources that it compiled, sorted, in one line
build() {
	: >"$work/compiled"
	cmake --build "$work/$1" -j 2 >"$work/$1.log" 2>&1 || { cat "$work/$1.log"; exit 1; }
	compiled=$(sort "$work/compiled" | tr '\n' ' ')
}
# made NAME WHEN WANTED [yes|no]: a build compiles these sources, and runs lathe or not
made() {
	local ran=no
	build "$1"
	! grep -q 'lathe compile' "$work/$1.log" || ran=yes
	[ "$compiled" = "$3" ] || wrong "$1 $2: compiled '$compiled', not '$3'"
	[ $ran = "$4" ] || wrong "$1 $2: lathe ran: $ran"
}
all='main.c smollm2.c smollm2_c.c smollm2_main.c smollm2_tokenizer.c smollm2_weights.c '

# check NAME GENERATOR PREFIX [OPTIONS OF cmake...]
check() {
	local name=$1 generator=$2 prefix=$3
	shift 3
	plan 8
	cmake -S examples/cmake -B "$work/$name" -G "$generator" -DCMAKE_BUILD_TYPE=Release -DCMAKE_PREFIX_PATH="$prefix" "$@" \
		-DMODEL="$work/model-00001-of-00002.gguf" -DPLAN="$work/plan.json" -DOPTIONS='--golden;2' \
		>"$work/$name.log" 2>&1 || { cat "$work/$name.log"; exit 1; }
	made "$name" "first" "$all" yes
	"${run[@]}" "$work/$name/continue" "Once upon" >"$work/got" || wrong "$name: continue: exit $?"
	"${run[@]}" "$work/$name/lathe/smollm2/smollm2" generate --threads 1 --ctx 512 -n 48 "Once upon" >"$work/expected" 2>"$work/log" || {
		cat "$work/log"
		wrong "$name: the runner fails"
	}
	cmp "$work/got" "$work/expected" || wrong "$name: the library says another text than its runner"
	"${run[@]}" "$work/$name/lathe/smollm2/smollm2" selftest >"$work/log" || { cat "$work/log"; wrong "$name: selftest"; }
	made "$name" "again" "" no
	sleep 1
	plan 8 ' '
	made "$name" "after a blank in the plan" "" yes
	made "$name" "after that" "" no
	plan 4
	made "$name" "after a change of bits" "$(tr ' ' '\n' <<<"$all" | grep -vE '^(main|smollm2_tokenizer).c$' | tr '\n' ' ' | sed 's/^ *//;s/ *$/ /')" yes
	made "$name" "after that change" "" no
	touch "$work/model-00002-of-00002.gguf"
	made "$name" "after a touch of what only the depfile names" "" yes
	cmake -DOPTIONS='--golden;3' "$work/$name" >/dev/null || exit 1
	made "$name" "after another option" "smollm2_main.c " yes
	made "$name" "at the end" "" no
}

cmake --install "$LATHE_BUILD" --prefix "$work/first place" >/dev/null || exit 1
run=()
check ninja Ninja "$work/first place" -DCMAKE_C_COMPILER="$work/other-cc" -DTARGETS=c -DCMAKE_INSTALL_PREFIX="$work/model place"
cmake --install "$work/ninja" >/dev/null || exit 1
mv "$work/first place" "$work/second" && mv "$work/model place" "$work/model second" || exit 1
run=("${other[@]}")
[ $processor = other ] || export OTHER_CC=aarch64-linux-gnu-gcc
[ $processor = other ] || all=${all/smollm2_main.c/smollm2_dotprod.c smollm2_main.c}
check make "Unix Makefiles" "$work/second" --toolchain "$work/other.cmake" -DBUILD_SHARED_LIBS=ON

unset OTHER_CC
# The example of two models, as far as lathe goes.
cmake -S examples/speculative -B "$work/two" -DCMAKE_PREFIX_PATH="$work/second" -DMODEL="$work/model-00001-of-00002.gguf" >"$work/log" 2>&1 &&
	cmake --build "$work/two" --target large_sources small_sources >>"$work/log" 2>&1 &&
	[ -f "$work/two/lathe/large/large.h" ] && [ -f "$work/two/lathe/small/small.h" ] || { cat "$work/log"; wrong "examples/speculative"; }

# The library is a package itself: weights and all, without Lathe and without the folder of its build.
rm -rf "$work/ninja" "$work/make" "$work/second"
mkdir "$work/user" && cp examples/c/main.c "$work/user" && cat >"$work/user/CMakeLists.txt" <<'END'
cmake_minimum_required(VERSION 3.20)
project(user LANGUAGES C)
find_package(smollm2 REQUIRED)
add_executable(user main.c)
target_link_libraries(user PRIVATE smollm2::smollm2)
END
cmake -S "$work/user" -B "$work/user/build" -DCMAKE_PREFIX_PATH="$work/model second" >"$work/log" 2>&1 &&
	cmake --build "$work/user/build" >>"$work/log" 2>&1 || { cat "$work/log"; exit 1; }
"$work/user/build/user" "Once upon" >"$work/got" || wrong "user: exit $?"
[ -s "$work/got" ] || wrong "user says nothing"

# project COMMANDS...: a project with an uninstalled Lathe, configured into $work/log
project() {
	rm -rf "$work/bad" && mkdir "$work/bad"
	printf 'cmake_minimum_required(VERSION 3.20)\nproject(bad LANGUAGES C)\nadd_executable(Lathe::lathe IMPORTED)\n' >"$work/bad/CMakeLists.txt"
	printf 'set_target_properties(Lathe::lathe PROPERTIES IMPORTED_LOCATION %s)\ninclude(%s)\n' \
		"$(realpath "$LATHE_BUILD/lathe")" "$PWD/templates/cmake/LatheModel.cmake" >>"$work/bad/CMakeLists.txt"
	printf '%s\n' "$@" >>"$work/bad/CMakeLists.txt"
	cmake -S "$work/bad" -B "$work/bad/build" -DCMAKE_C_COMPILER="$work/other-cc" >"$work/log" 2>&1
}

# Weights beside the library, where its program looks for them; a name of other characters.
project "lathe_add_model(NAME tiny.model-2 MODEL $work/model-00001-of-00002.gguf TARGETS c OPTIONS --golden 2 WEIGHTS FILE RUNNER)" &&
	cmake --build "$work/bad/build" >>"$work/log" 2>&1 &&
	"$work/bad/build/lathe/tiny.model-2/tiny.model-2" selftest >>"$work/log" 2>&1 || { cat "$work/log"; wrong "WEIGHTS FILE"; }
! nm "$work/bad/build/libtiny.model-2.a" | grep -q ' R .*_weights_data' || wrong "the weights are in the library"

# refused WORDS COMMAND: what lathe_add_model says of mistakes
refused() {
	! project "$2" || wrong "not refused: $2"
	tr -s ' \n' ' ' <"$work/log" | grep -qF "$1" || { cat "$work/log"; wrong "no '$1' of $2"; }
}
refused "wants NAME and MODEL" 'lathe_add_model(NAME a)'
refused "cannot name a model" 'lathe_add_model(NAME a/b MODEL m)'
refused "no target 'x86'; there are x86-64-v4" 'lathe_add_model(NAME a MODEL m TARGETS x86)'
refused "WEIGHTS is LINKED or FILE, not none" 'lathe_add_model(NAME a MODEL m WEIGHTS none)'
refused "unknown arguments: TARGET" 'lathe_add_model(NAME a MODEL m TARGET c)'
exit $status
