# The unit tests once more, with address and undefined-behaviour sanitizers.
build=$1/asan-ubsan
{
	cmake -S . -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Debug -DCMAKE_C_FLAGS_DEBUG="-O1 -g" \
		-DLATHE_SANITIZE=ON "-DLATHE_MODELS=${LATHE_MODELS:-}" "-DLATHE_SHARED=${LATHE_SHARED:-}" &&
		cmake --build "$build" --target unit_tests
} >"$1/sanitized.log" 2>&1 || { cat "$1/sanitized.log"; exit 1; }
cd "$build" && ctest --output-on-failure -R '^unit/' -E '^unit/(clang|format|limits|sanitized)$'
