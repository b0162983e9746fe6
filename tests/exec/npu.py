"""Whole artefacts of the target npu on OpenVINO's CPU plugin: npu.py LATHE WORK SHARED

The C host beside the double interpreter and the CPU library; the folder npu/ as GenAI's LLMPipeline reads it, and as the
NPU plugin splits it into a prefill and a decode of its own (NPUW), which runs on the CPU as well, in f16."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "npu"))
import host  # noqa: E402
from artefact import compile_model  # noqa: E402

IDS = [1, 403, 407, 261, 378, 432, 383, 286, 261, 376, 298, 315, 421, 395, 317, 426, 338, 401, 396, 267, 337, 410, 408,
       419, 292, 411, 322, 265, 282, 295, 433, 426, 385, 328, 432, 450, 511, 3, 77]
CHUNK, CONTEXT = 16, 128
LIMIT = 1e-4  # of logits; what is left is rounding
HALF = 0.005  # NPUW has weights, keys, values and what goes between its parts in f16
SPLIT = {"NPUW_LLM_MAX_PROMPT_LEN": 32, "NPUW_LLM_MIN_RESPONSE_LEN": 16}
MODELS = {
    "f32": ["--activations", "f32"],
    "mixed": ["--activations", "f32", "--quantize", "{embed,head}=bits:8,group:row", "--quantize",
              "layers.*.{q,k,v,o,down}=bits:4,group:row", "--quantize", "layers.*.{gate,up}=bits:4,group:32,scale:f32"],
}


def check(what, far, limit):
    print(f"{what}: {far:.1e}", flush=True)
    if not far <= limit:
        sys.exit(f"{what}: {far:.1e} is beyond {limit:.0e}")


def same(what, got, wanted):
    print(f"{what}: {got!r}")
    if got != wanted or not wanted:
        sys.exit(f"{what}: not {wanted!r}")


def artefact(lathe, work, shared, name, options):
    data = os.path.join(shared, "data")
    model = os.path.join(data, "stories260K.bin")
    folder, device = os.path.join(work, name), ["--device", host.DEVICE]
    program = compile_model(lathe, model, folder, "--tokenizer", os.path.join(data, "tok512.bin"), "--target",
                            "npu,x86-64-v3", "--kv", "f32", "--golden", "1", "--quiet", "--cflags", "-O1", "--npu-chunk",
                            str(CHUNK), "--npu-context", str(CONTEXT), *options)
    out = os.path.join(work, "logits")
    double = host.interpreter(lathe, model, IDS, out, "--kv", "f32", *options)
    library = host.logits(program, IDS, out)
    whole = host.logits(program, IDS, out, *device)
    check(f"{name}: C host beside the double interpreter", host.distance(whole, double), LIMIT)
    check(f"{name}: C host beside the CPU library", host.distance(whole, library), LIMIT)
    parts = host.logits(program, IDS, out, *device, "--chunk", "7")
    check(f"{name}: C host in calls of 7", host.distance(parts, double), LIMIT)
    wanted = host.greedy(program, IDS[:3], 64)
    same(f"{name}: greedy", host.greedy(program, IDS[:3], 64, *device), wanted)
    ids = host.pipeline(folder, IDS[:3], 64, **host.EXACT)
    same(f"{name}: LLMPipeline", host.text(program, ids).strip(), wanted.strip())
    calls = [IDS[:20], IDS[20:21], IDS[21:22]]
    split = host.stateful(folder, "NPU", {**host.NPUW, **SPLIT}, calls)
    check(f"{name}: NPUW", host.distance(split, double[19:22]), HALF)


def main():
    for name, options in MODELS.items():
        artefact(*sys.argv[1:], name, options)
    ids = host.pipeline(os.path.join(sys.argv[2], "f32"), IDS[:3], 32, "NPU", NPUW_DEVICES="CPU", MAX_PROMPT_LEN=32,
                        MIN_RESPONSE_LEN=32)
    program = os.path.join(sys.argv[2], "f32", "f32")
    same("LLMPipeline on NPUW", host.text(program, ids).strip(), host.greedy(program, IDS[:3], 32).strip())


if __name__ == "__main__":
    main()
