"""SmolLM2 as models of OpenVINO on its CPU plugin: long_npu.py LATHE ROWS WORK MODEL [TEXT]

Under each plan of npu/smollm2.py: every block and the logits beside the double interpreter, greedy tokens of the C host and
of LLMPipeline beside the CPU library's, NPUW's split, perplexity beside the CPU library's. What writing takes: npu_size.py."""
import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "npu"))
import numpy as np  # noqa: E402

import host  # noqa: E402
import smollm2  # noqa: E402
from artefact import compile_model, run  # noqa: E402
from npu import check, same  # noqa: E402

IDS = [504, 2988, 282, 2830, 2991, 335, 260, 8242, 30340, 28, 284, 624, 1463, 3935, 1056, 827, 7463, 929, 30, 378, 10888, 3418,
       253, 6698, 284, 253, 3410, 28]
BLOCK, LOGITS, PERPLEXITY = 5e-6, 1e-4, 0.1
HALF = 0.01  # NPUW has weights, keys, values and what goes between its parts in f16
CHUNKS = 16  # of 512 tokens
SPLIT = {"NPUW_LLM_MAX_PROMPT_LEN": 64, "NPUW_LLM_MIN_RESPONSE_LEN": 16}


def blocks(rows, model, folder, plan, work, name):
    """The stateful model, in three calls."""
    import openvino
    out = os.path.join(work, name + ".rows")
    os.mkdir(out)
    run(rows, model, out, "--tokens", host.listed(IDS), "--plan", plan)
    wanted = {n: np.fromfile(os.path.join(out, n)).reshape(len(IDS), -1) for n in os.listdir(out)}
    core = openvino.Core()
    net = core.read_model(os.path.join(folder, "npu", "openvino_model.xml"))
    there = {n for op in net.get_ordered_ops() for o in op.outputs() for n in o.get_names()}
    inner = sorted(n for n in wanted if n != "head")
    missing = [n for n in inner if n not in there]
    if missing or len(inner) != smollm2.LAYERS + 1:
        sys.exit(f"{name}: no rows of {missing}, or not {smollm2.LAYERS} layers in {inner}")
    net.add_outputs(inner)
    request = core.compile_model(net, "CPU", host.EXACT).create_infer_request()
    got, at = {n: [] for n in wanted}, 0
    for n in (17, 1, len(IDS) - 18):
        at += n
        request.infer({"input_ids": np.array([IDS[at - n:at]]), "attention_mask": np.ones((1, at), np.int64),
                       "position_ids": np.arange(at - n, at)[None], "beam_idx": np.zeros(1, np.int32)})
        for b in got:
            got[b].append(request.get_tensor("logits" if b == "head" else b).data[0].copy())
    far = {b: host.distance(np.concatenate(got[b]), wanted[b]) for b in wanted}
    head = far.pop("head")
    worst = max(far, key=far.get)
    check(f"{name}: block {worst}, the worst of {len(far)}", far[worst], BLOCK)
    check(f"{name}: stateful logits", head, LOGITS)


def perplexity(program, text, *options):
    p = run(program, "perplexity", text, "--ctx", "512", "--chunks", str(CHUNKS), "--json", *options)
    return json.loads(p.stdout)["perplexity"]


def main():
    lathe, rows, work, model, *texts = sys.argv[1:]
    plans = {name: smollm2.plan(work, name) for name in smollm2.GROUPS}
    for name, plan in plans.items():
        folder, device, out = os.path.join(work, name), ["--device", host.DEVICE], os.path.join(work, "logits")
        program = compile_model(lathe, model, folder, "--plan", plan, "--target", "npu,x86-64-v4,x86-64-v3", "--activations", "f32",
                                "--kv", "f32", "--golden", "1", "--quiet", "--verify", "off")
        blocks(rows, model, folder, plan, work, name)
        double = host.interpreter(lathe, model, IDS, out, "--plan", plan, "--kv", "f32")
        library = host.logits(program, IDS, out)
        check(f"{name}: CPU library beside the double interpreter", host.distance(library, double), LOGITS)
        check(f"{name}: C host beside the double interpreter", host.distance(host.logits(program, IDS, out, *device), double), LOGITS)
        wanted = host.greedy(program, IDS, 64)
        same(f"{name}: greedy", host.greedy(program, IDS, 64, *device), wanted)
        same(f"{name}: LLMPipeline", host.text(program, host.pipeline(folder, IDS, 64, **host.EXACT)).strip(), wanted.strip())
        split = host.stateful(folder, "NPU", {**host.NPUW, **SPLIT}, [IDS[:20], IDS[20:21], IDS[21:22]])
        check(f"{name}: NPUW", host.distance(split, double[19:22]), HALF)
        for text in texts:
            cpu, npu = perplexity(program, text), perplexity(program, text, *device)
            print(f"{name}: perplexity of {512 * CHUNKS} tokens: {npu:.4f}, CPU library {cpu:.4f}", flush=True)
            if not abs(cpu - npu) <= PERPLEXITY:
                sys.exit(f"{name}: perplexities are further apart than {PERPLEXITY}")


if __name__ == "__main__":
    main()
