#!/usr/bin/env bash
# The host of the npu models (NAME_npu.c, --device npu) over a mock of OpenVINO's C library (openvino_mock.c): what it
# gives the models, and what it says where things are missing, of another version or damaged; blobs of lathe compile.
# With OpenVINO at hand also: its declarations are the headers', and its CPU says what our CPU library says.
# Usage: npu_host.sh BUILD
set -u
LATHE_BUILD=$1
. tests/lib.sh
. tests/npu/openvino.bash
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
status=0
failed() {
	echo "FAILED: $*"
	status=1
}
openvino=$(openvino_folder)
unset LATHE_OPENVINO INTEL_OPENVINO_DIR OPENVINO_MOCK
model=(--target npu,c --npu-chunk 16 --npu-context 64 --activations f32 --kv f32 --quantize 'embed=bits:4,group:32'
	--quantize 'layers.*.*=bits:8,group:32')
out=$(artefact stories "${model[@]}" --golden 8 --cflags -O1) || exit $?
program=$(realpath "$out")/stories
cp -r "$out/npu" "$work/npu"
flags=(-std=c17 -O1 -Wall -Wextra -Wpedantic -Wshadow -Werror -fPIC -shared)
cc "${flags[@]}" tests/exec/openvino_mock.c -o "$work/libopenvino_c.so.2699" &&
	cc "${flags[@]}" -DMOCK_OLD tests/exec/openvino_mock.c -o "$work/old.so" || exit 1
export OPENVINO_MOCK_DIMS=16,64,4,8,5,64,512

# ---- the interface --------------------------------------------------------------------------------------------------
(cd "$out" && cc -std=c11 -g -O1 -Wall -Wextra -Wpedantic -Wshadow -Werror -fsanitize=address,undefined \
	-fno-sanitize-recover=all -Dposix_memalign=npu_pages -I. "$PWD/stories_npu.c" "$OLDPWD/tests/exec/npu_program.c" libstories.a stories_weights.o -ldl \
	-o "$work/program") && "$work/program" "$work/npu" "$work" >"$work/out" 2>"$work/err" ||
	failed "the interface: $(cat "$work/out"; grep -v '^mock: compiled' "$work/err")"
! grep 'are left' "$work/err" || failed "the host leaves objects"
echo '#include "stories_npu.h"' >"$work/plain.cc"
c++ -std=c++11 -Wall -Wextra -Wpedantic -Werror -fsyntax-only -I"$out" "$work/plain.cc" || failed "C++ refuses the header"

# ---- the program ----------------------------------------------------------------------------------------------------
# refuses STATUS WORDS ARGUMENTS...: the program ends with that status and says the words (a regular expression).
refuses() {
	local wanted=$1 words=$2 got
	shift 2
	"$program" "$@" >"$work/out" 2>"$work/err"
	got=$?
	[ $got -eq "$wanted" ] || failed "status $got, not $wanted: $*: $(cat "$work/err")"
	grep -Eq "$words" "$work/err" || failed "no '$words' of: $*: $(cat "$work/err")"
	[ ! -s "$work/out" ] || failed "output of: $*"
}
ids=(logits --ids 1,2,3 --out "$work/logits" --device)
refuses 2 'no OpenVINO that serves: .*libopenvino_c.so.*: install OpenVINO 2026' "${ids[@]}" npu
refuses 2 'no libopenvino_c.so in /nonexistent: install OpenVINO' "${ids[@]}" npu:CPU,openvino=/nonexistent
LATHE_OPENVINO=/nonexistent refuses 2 'no libopenvino_c.so in /nonexistent, that is LATHE_OPENVINO' "${ids[@]}" npu:CPU
refuses 2 'old.so has no ov_core_import_model' "${ids[@]}" "npu:CPU,openvino=$work/old.so"
: >"$work/text.so"
refuses 2 'text.so: file too short' "${ids[@]}" "npu:CPU,openvino=$work/text.so"
refuses 1 "no device 'npx' in this library" "${ids[@]}" npx
# mock WORDS STATUS MESSAGE DEVICE
export LATHE_OPENVINO=$work
mock() {
	OPENVINO_MOCK=$1 refuses "$2" "$3" "${ids[@]}" "$4"
}
mock version=2025.4 2 'libopenvino_c.so.2699 is OpenVINO 2025.4-1-mock, and this program knows 2026 alone' npu
mock no_device 2 'no such device .*name is not registered.*; devices of this machine: CPU$' npu
mock no_device 2 'NPU, NPU_TURBO=1: Device with "NPU" name is not registered' npu:NPU,NPU_TURBO=1
mock x 2 'CPU, BOGUS=1: Unsupported property BOGUS$' npu:CPU,BOGUS=1
mock refuse 2 'the device refused a model: npu_prefill: Got negative output shape in Reshape$' npu
mock memory 2 'out of memory: npu_prefill: std::bad_alloc$' npu:CPU
mock infer_memory=1 2 'eval: out of memory: npu_prefill: .*OUT_OF_DEVICE_MEMORY$' npu:CPU
mock infer=2 2 'eval: an error of OpenVINO: npu_head: ZE_RESULT_ERROR_DEVICE_LOST$' npu:CPU
mock x 2 'the properties are too long$' "npu:CPU,A=$(printf %01200d 0)"
mock x 2 'the path of the models is too long$' "npu:CPU,models=$(printf %05000d 0)"
[ ! -e "$work/logits" ] || failed "a file of logits after errors"
refuses 1 'a context of 65 positions is beyond the 64 that it was compiled for' generate --ids 1,2,3 -n 62 --device npu:CPU
refuses 1 'near the contract' selftest --device npu:CPU

# damaged SED-LIKE COMMANDS: a folder of models that something is done to.
damaged() {
	rm -rf "$work/damaged" && cp -r "$work/npu" "$work/damaged" && (cd "$work/damaged" && eval "$1") || failed "$1"
}
bin=openvino_model.bin
damaged "truncate -s -1 $bin"
mock x 2 'openvino_model.bin: it has [0-9]+ bytes, and the models want [0-9]+$' "npu:CPU,models=$work/damaged"
damaged "truncate -s 0 $bin"
mock x 2 'openvino_model.bin: No data available' "npu:CPU,models=$work/damaged"
damaged "rm $bin"
mock x 2 'openvino_model.bin: No such file' "npu:CPU,models=$work/damaged"
damaged "printf x | dd of=$bin conv=notrunc bs=1 seek=9 status=none"
mock x 2 "openvino_model.bin: it is not of the compile 'stories [0-9a-f]{32}'" "npu:CPU,models=$work/damaged"
damaged "printf x | dd of=$bin conv=notrunc bs=1 seek=70001 status=none"
OPENVINO_MOCK=x refuses 2 'openvino_model.bin: it is damaged' "${ids[@]}" "npu:CPU,models=$work/damaged" --check-weights yes
damaged "sed -i '1,3s/<net name=\"stories ./<net name=\"stories x/' npu_decode.xml"
mock x 2 'npu_decode.xml: it is not of the compile' "npu:CPU,models=$work/damaged"
damaged ": >npu_head.xml"
mock x 2 'npu_head.xml: ' "npu:CPU,models=$work/damaged"

# says MOCK WORDS COUNT ARGUMENTS...: succeeds, with so many lines of the words on stderr.
says() {
	local mock=$1 words=$2 count=$3
	shift 3
	OPENVINO_MOCK=$mock "$program" "$@" >"$work/out" 2>"$work/err" || failed "mock $mock: $*: $(cat "$work/err")"
	[ "$(grep -Ec "$words" "$work/err")" -eq "$count" ] || failed "not $count '$words': $*: $(cat "$work/err")"
}
says x '^mock: compiled npu_(prefill|decode|head) for CPU$' 3 "${ids[@]}" npu:CPU
says x '^mock: compiled' 3 "${ids[@]}" npu:CPU --check-weights yes
says x '^mock: HETERO:CPU,NPU: A_KEY=b$' 1 "${ids[@]}" npu:HETERO:CPU,A_KEY=b,NPU
says x '^mock: compiled' 3 generate --ids 1,2,3 -n 8 --device npu --json
grep -q '"device": "NPU (Mock device), OpenVINO 2026.9.9"' "$work/out" || failed "device: $(cat "$work/out")"
says x '^mock: compiled' 3 bench --prefill 20 --decode 4 --reps 2 --device npu:CPU
"$program" generate 'Once upon a time' -n 250 >"$work/text" 2>/dev/null || failed "a text"
says x '^mock: compiled' 3 perplexity "$work/text" --ctx 64 --chunks 1 --device npu:CPU

# ---- compiled models that are kept ----------------------------------------------------------------------------------
mkdir "$work/cache"
device=npu:NPU,cache=$work/cache
says x '^mock: compiled' 3 "${ids[@]}" "$device"
[ "$(ls "$work/cache" | tr '\n' ' ')" = "npu_decode.4000.blob npu_decode.4000.key npu_head.4000.blob npu_head.4000.key \
npu_prefill.4000.blob npu_prefill.4000.key " ] || failed "the cache has $(ls "$work/cache")"
says x '^mock: imported npu_(prefill|decode|head) for NPU$' 3 "${ids[@]}" "$device"
! grep -q note: "$work/err" || failed "a note: $(cat "$work/err")"
says version=2026.5.0 "npu_decode.4000.blob: it is of another: 'openvino 2026.9.9-1-mock'; compiled anew" 1 "${ids[@]}" "$device"
says version=2026.5.0 '^mock: imported' 3 "${ids[@]}" "$device"
says x '^mock: compiled' 3 "${ids[@]}" "$device"
says platform=5010 '^mock: compiled' 3 "${ids[@]}" "$device"
for n in prefill decode head; do
	cp "$work/cache/npu_$n.4000.blob" "$work/cache/npu_$n.3720.blob"
	cp "$work/cache/npu_$n.4000.key" "$work/cache/npu_$n.3720.key"
done
says platform=3720 "of another: 'platform 4000'; compiled anew" 1 "${ids[@]}" "$device"
says x '^mock: compiled' 3 "${ids[@]}" "$device,NPU_TURBO=1"
grep -q "of another: 'properties'; compiled anew" "$work/err" || failed "properties: $(cat "$work/err")"
says x '^mock: compiled' 3 "${ids[@]}" "$device"
printf x | dd of="$work/cache/npu_head.4000.blob" conv=notrunc bs=1 seek=3 status=none
says x 'npu_head.4000.blob: it is damaged; compiled anew' 1 "${ids[@]}" "$device"
says import "npu_head.4000.blob: the blob's version is not that of the driver; compiled anew" 1 "${ids[@]}" "$device"
rm "$work/cache/npu_head.4000.blob"
says x '^mock: (imported|compiled npu_head)' 3 "${ids[@]}" "$device"
says x 'note: .*/nonexistent/npu_prefill.4000.*new: cannot open the file to write' 1 "${ids[@]}" npu:NPU,cache=/nonexistent

mkdir "$work/full"
says full 'No space left on device' 1 "${ids[@]}" "npu:NPU,cache=$work/full"
[ -z "$(ls "$work/full")" ] || failed "a full disk leaves $(ls "$work/full")"

# ---- blobs of lathe compile -----------------------------------------------------------------------------------------
# compile MOCK ARGUMENTS...: sources alone, into $work/made.
compile() {
	local mock=$1
	shift
	rm -rf "$work/made"
	OPENVINO_MOCK=$mock "$LATHE_BUILD/lathe" compile "$LATHE_SHARED/data/stories260K.bin" --emit c --golden 1 \
		"${model[@]}" -o "$work/made/stories" "$@" >"$work/out" 2>"$work/err" ||
		failed "compile $mock: $(cat "$work/err")"
}
made=$work/made/stories
# member PYTHON: of the manifest m, true.
member() {
	python3 -c "import json, sys; m = json.load(open(sys.argv[1]))['npu_blobs']; assert $1, m" "$made/manifest.json" ||
		failed "the manifest's blobs: not $1"
}
compile x
member 'm == []'
grep -q 'no compiled models (blobs): not asked for' "$made/report.txt" || failed "the report says nothing of blobs"
compile x --npu-blob auto --npu-openvino /nonexistent
grep -q 'warning: no compiled models for the NPU: no libopenvino_c.so in /nonexistent' "$work/err" || failed "$(cat "$work/err")"
compile no_compiler --npu-blob auto
grep -q 'no compiled models for the NPU: VCL compiler loading failed, aborting' "$work/err" || failed "$(cat "$work/err")"
[ "$(grep -c 'no compiled models (blobs): VCL' "$made/report.txt")" -eq 1 ] || failed "not said once"
compile x --npu-blob auto --npu-openvino "$work/libopenvino_c.so.2699" --npu-platform 4000,5010
member "[b['platform'] for b in m] == ['4000'] * 3 + ['5010'] * 3"
member "all(b['compiler'] == '8.4' and b['elf'] == '1.2.2' and b['mapped_inference'] == '11.4.10' and b['bytes'] > 50 for b in m)"
[ "$(ls "$made"/npu/*.blob "$made"/npu/*.key | wc -l)" -eq 12 ] || failed "blobs: $(ls "$made/npu")"
! ls "$made"/npu | grep -v -e '^npu_' -e '^openvino_model' -e config.json || failed "files are left"
compile refuse=5010 --npu-blob auto --npu-platform 4000,5010
member "len(m) == 3"
[ "$(grep -c 'warning: no compiled npu_.* for the NPU 5010: Got negative output shape in Reshape' "$work/err")" -eq 3 ] ||
	failed "refusals: $(cat "$work/err")"
compile crash=npu_decode --npu-blob auto --npu-platform 4000
member "len(m) == 2"
grep -q 'no compiled npu_decode for the NPU 4000: it ended by signal 11' "$work/err" || failed "crash: $(cat "$work/err")"
compile made=3720 --npu-blob auto --npu-platform 4000
member "m == []"
grep -q 'says no generation, or another one' "$work/err" || failed "another generation: $(cat "$work/err")"
compile no_footer --npu-blob auto --npu-platform 4000
member "m == []"
compile full --npu-blob auto --npu-platform 4000
member "m == []"
! ls "$made/npu" | grep blob || failed "a full disk leaves a blob"
# What lathe made serves the host as it is.
compile x --npu-blob auto --npu-platform 4000
says x '^mock: imported' 3 "${ids[@]}" "npu:NPU,models=$made/npu"
says platform=5010 '^mock: compiled' 3 "${ids[@]}" "npu:NPU,models=$made/npu"

# ---- lathe devices, lathe targets -----------------------------------------------------------------------------------
"$LATHE_BUILD/lathe" devices >"$work/out" 2>/dev/null || failed "devices"
grep -q "^OpenVINO 2026.9.9-1-mock ($work/libopenvino_c.so.2699)" "$work/out" && grep -q '^  NPU: Mock device, 4000$' "$work/out" &&
	grep -q 'npu-blob auto): yes$' "$work/out" || failed "devices: $(cat "$work/out")"
OPENVINO_MOCK=no_compiler "$LATHE_BUILD/lathe" devices --json 2>/dev/null | grep npu | python3 -c '
import json, sys
npu = json.load(sys.stdin)["npu"]
assert npu["compiler_failure"].startswith("VCL") and [d["name"] for d in npu["devices"]] == ["CPU", "NPU"], npu' ||
	failed "devices --json"
"$LATHE_BUILD/lathe" targets | grep -q '3720 (Meteor Lake' || failed "targets: $("$LATHE_BUILD/lathe" targets)"

# ---- OpenVINO itself ------------------------------------------------------------------------------------------------
unset LATHE_OPENVINO
if ! [ -d "$openvino/openvino/libs" ]; then
	echo "left out: no OpenVINO in $openvino"
	exit $status
fi
cc -std=c17 -Wall -Wextra -Wpedantic -Werror -I. -isystem "$openvino/openvino/include" tests/exec/openvino_header.c -o "$work/header" \
	-ldl && "$work/header" "$openvino" || failed "templates/npu/openvino.h and OpenVINO's headers"
exact=INFERENCE_PRECISION_HINT=f32,DYNAMIC_QUANTIZATION_GROUP_SIZE=0,KV_CACHE_PRECISION=f32
device=npu:CPU,openvino=$openvino,cache=$work/cache,$exact
text=('Once upon a time' -n 50)
"$program" generate "${text[@]}" >"$work/cpu" 2>/dev/null && "$program" generate "${text[@]}" --device "$device" >"$work/npu.txt" \
	2>"$work/err" || failed "OpenVINO's CPU: $(cat "$work/err")"
cmp "$work/cpu" "$work/npu.txt" || failed "OpenVINO's CPU says: $(cat "$work/npu.txt")"
"$program" generate "${text[@]}" --device "$device" >"$work/npu.txt" 2>"$work/err" && cmp "$work/cpu" "$work/npu.txt" ||
	failed "a kept model: $(cat "$work/npu.txt" "$work/err")"
! grep -q note: "$work/err" || failed "a kept model: $(cat "$work/err")"
many=$(seq -s , 3 52)
"$program" logits --ids "$many" --all --out "$work/cpu.f32" >/dev/null && "$program" logits --ids "$many" --all --chunk 21 \
	--out "$work/npu.f32" --device "$device" >"$work/out" && python3 -c '
import array, sys
a, b = (array.array("f", open(p, "rb").read()) for p in sys.argv[1:])
most = max(map(abs, a))
worst = max(abs(x - y) for x, y in zip(a, b)) / most
assert len(a) == len(b) == 50 * 512 and worst < 1e-5, (len(a), len(b), worst)' "$work/cpu.f32" "$work/npu.f32" ||
	failed "logits of OpenVINO's CPU"
refuses 2 'no such device.*VCL compiler loading failed.*NPU_COMPILER_TYPE=DRIVER; devices of this machine: CPU$' "${ids[@]}" \
	"npu:NPU,openvino=$openvino"
refuses 2 'no such device.*Could not find an NPU device.*; devices of this machine: CPU$' "${ids[@]}" \
	"npu:NPU,NPU_COMPILER_TYPE=DRIVER,openvino=$openvino"
exit $status
