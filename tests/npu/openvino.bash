# OpenVINO for tests: the Linux wheels, whose CPU plugin executes what the target npu writes, and the Windows wheel, the
# only one with the NPU's compiler, which runs under Wine. Sourced behind lib.sh.
openvino_release=2026.4.1
openvino_wheels='89cd468399cfd2504718f0ba50e410dca55a170b61a02ad92bb18c8a65186e93  numpy-2.4.6-cp311-cp311-manylinux_2_27_x86_64.manylinux_2_28_x86_64.whl
90f9849678c75fe7afa2d348ac842c168b0a4d3d61919687216dfc547976d853  numpy-2.4.6-cp312-cp312-manylinux_2_27_x86_64.manylinux_2_28_x86_64.whl
a7830bab239b79cda9c08c2da014761cafb48da6150e1da17ac06283f43b6089  numpy-2.4.6-cp313-cp313-manylinux_2_27_x86_64.manylinux_2_28_x86_64.whl
2d22b1da03f7caf74df30e9f6417d0ab2f637e4a38e08e1dcd294d2c37407aaf  openvino-2026.4.1-22982-cp311-cp311-manylinux_2_28_x86_64.whl
6b4375c17ddcac83a5180349e2e2bb811185c261066e2a920659892d58ef0e3b  openvino-2026.4.1-22982-cp312-cp312-manylinux_2_28_x86_64.whl
a9b637846c579d7b81b17b6585e0c7b1947574e8d13cf83d7307ce50cd2c352e  openvino-2026.4.1-22982-cp313-cp313-manylinux_2_28_x86_64.whl
445b96c75983847feb4543db49336f67b8eba7c20d00252ef6b930aa5d5d787d  openvino_genai-2026.4.1.0-2636-cp311-cp311-manylinux_2_28_x86_64.whl
9ac9caa404931598c1ad1af4aa5a009409483095e97ee55888c6055bd97394fb  openvino_genai-2026.4.1.0-2636-cp312-cp312-manylinux_2_28_x86_64.whl
60c6262c5da56601e17e1e37c1f42b41467bfe8493b4c562220f1a34f80b82a9  openvino_genai-2026.4.1.0-2636-cp313-cp313-manylinux_2_28_x86_64.whl
f30dc9d6dd9e485b10495bcf72fc257f33bf35938da783fbb8f17c98c5ab517f  openvino_tokenizers-2026.4.1.0-py3-none-manylinux_2_28_x86_64.whl
bfddae6d6d3ad240157b946f180c33d0ddfaaae7487995d929a4e6b4bc12b283  openvino-2026.4.1-22982-cp311-cp311-win_amd64.whl'

# openvino_folder: prints the folder of the Linux wheels, which may not be there: for PYTHONPATH, with the C library in
# openvino/libs. LATHE_OPENVINO names one that is there already.
openvino_folder() {
	printf '%s\n' "${LATHE_OPENVINO:-${XDG_CACHE_HOME:-${HOME:?HOME is not set}/.cache}/lathe/openvino-$openvino_release}"
}

# openvino_windows: prints the folder of the Windows wheel's libraries, which may not be there.
openvino_windows() {
	local cache=${XDG_CACHE_HOME:-${HOME:?HOME is not set}/.cache}/lathe
	printf '%s\n' "${LATHE_OPENVINO_WINDOWS:-$cache/openvino-$openvino_release-windows}"
}

# openvino_download FOLDER PIP OPTIONS...: FOLDER/wheels, every one of them of a digest above.
openvino_download() {
	local work=$1
	shift
	python3 -m pip download -q --disable-pip-version-check --no-deps --only-binary :all: -d "$work/wheels" "$@" >&2 &&
		[ "$(cd "$work/wheels" && sha256sum --ignore-missing -c 2>/dev/null <<<"$openvino_wheels" | grep -c ': OK$')" = \
			"$(find "$work/wheels" -name '*.whl' | wc -l)" ]
}

# openvino_unpack FOLDER: FOLDER/openvino of the wheels in FOLDER/wheels.
openvino_unpack() {
	local wheel
	for wheel in "$1"/wheels/*.whl; do
		python3 -m zipfile -e "$wheel" "$1/openvino" && rm -f "$wheel" || return 1
	done
}

# fetch_openvino: prints openvino_folder, from the cache or from PyPI; returns 1 where it cannot be had. Unpacked, not
# installed; whoever runs at the same time sees the whole folder or none.
fetch_openvino() {
	local folder work
	folder=$(openvino_folder)
	if ! [ -d "$folder/openvino/libs" ]; then
		[ -z "${LATHE_OPENVINO:-}" ] || { say "no $folder/openvino/libs"; return 1; }
		mkdir -p "${folder%/*}" && work=$(mktemp -d "${folder%/*}/fetch.XXXXXX") || return 1
		say "fetching OpenVINO $openvino_release (110 MB, from PyPI, kept in $folder)"
		if openvino_download "$work" "openvino==$openvino_release" "openvino-genai==$openvino_release.0" \
			"openvino-tokenizers==$openvino_release.0" numpy==2.4.6 && openvino_unpack "$work"; then
			mv -T "$work/openvino" "$folder"
		fi
		rm -rf "$work"
	fi
	[ -d "$folder/openvino/libs" ] || {
		say "OpenVINO is not to be had (no network, a wrong digest, or no wheel for this Python)"
		return 1
	}
	printf '%s\n' "$folder"
}

# npu_compiler_missing: prints what the NPU's compiler lacks to run here, nothing where it can.
npu_compiler_missing() {
	local folder
	folder=$(openvino_windows)
	[ -f "$folder/openvino_intel_npu_compiler.dll" ] || printf 'no %s; ' "$folder/openvino_intel_npu_compiler.dll"
	have wine || printf 'no wine (Debian: wine wine64); '
	have x86_64-w64-mingw32-gcc || printf 'no gcc-mingw-w64-x86-64; '
}

# fetch_npu_compiler: the Windows wheel, from the cache or from PyPI, and what it needs to run, from Debian; returns 1
# where they cannot be had.
fetch_npu_compiler() {
	local folder work missing
	if ! { have wine && have x86_64-w64-mingw32-gcc; } && [ "$(id -u)" = 0 ] && have apt-get; then
		say "installing wine wine64 gcc-mingw-w64-x86-64"
		apt-get -o DPkg::Lock::Timeout=300 -qq update >&2
		DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 install --no-install-recommends -qq -y \
			wine wine64 gcc-mingw-w64-x86-64 >&2
	fi
	folder=$(openvino_windows)
	if ! [ -f "$folder/openvino_intel_npu_compiler.dll" ]; then
		[ -z "${LATHE_OPENVINO_WINDOWS:-}" ] || { say "no $folder/openvino_intel_npu_compiler.dll"; return 1; }
		mkdir -p "${folder%/*}" && work=$(mktemp -d "${folder%/*}/fetch.XXXXXX") || return 1
		say "fetching OpenVINO $openvino_release for Windows, the NPU's compiler (81 MB, from PyPI, kept in $folder)"
		if openvino_download "$work" --platform win_amd64 --python-version 3.11 "openvino==$openvino_release" &&
			openvino_unpack "$work"; then
			mv -T "$work/openvino/openvino/libs" "$folder"
		fi
		rm -rf "$work"
	fi
	missing=$(npu_compiler_missing)
	[ -z "$missing" ] || { say "the NPU's compiler cannot run: ${missing%; }"; return 1; }
}
