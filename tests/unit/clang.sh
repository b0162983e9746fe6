# The whole tree, tests included, compiles with clang, warnings being errors.
command -v clang >/dev/null 2>&1 || { echo "skipped: no clang"; exit 77; }
build=$1/clang
cmake -S . -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Debug -DCMAKE_C_COMPILER=clang >"$1/clang.log" 2>&1 &&
	cmake --build "$build" >>"$1/clang.log" 2>&1 && exit 0
cat "$1/clang.log"
exit 1
