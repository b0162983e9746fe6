#!/usr/bin/env python3
"""Every block of the models of OpenVINO on its CPU plugin, beside the double interpreter.

    blocks.py LATHE ROWS WORK SHARED

ROWS is the program npu_rows. Small models with every op, every kind of transform and every format of weights: the
stateful model with its tokens in three calls, then chunks of the prefill and the head's model, then the decode. Whole
floats are asked of the plugin, so that what is left is rounding.
"""
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "exec"), os.path.join(HERE, "..", "reject")]
import numpy as np  # noqa: E402
import openvino  # noqa: E402

import architectures  # noqa: E402
import formats  # noqa: E402
import long_plans  # noqa: E402
from artefact import run, write_plan  # noqa: E402
from tinymodel import gguf_model  # noqa: E402

EXACT = {"INFERENCE_PRECISION_HINT": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0", "KV_CACHE_PRECISION": "f32"}
CONTEXT, CHUNK = 24, 5
IDS = [3 + 7 * i * i % 250 for i in range(17)]
CUTS = [11, 1, 5]  # tokens of each call of the stateful model
PREFILL = 13  # tokens that go through the prefill, the rest through the decode
LIMIT = 5e-6  # of the largest element of the block's rows
# Of architectures: devices have no gelu, no windows, no mixtures of experts.
REFUSED = {"gemma3", "mixtral", "qwen2moe", "qwen3moe"}
SCORE_OF_NONE = -65504
CORE = openvino.Core()


def interpreter(rows, model, work, options):
    """{function: [tokens][width]}, in their order."""
    folder = os.path.join(work, "rows")
    os.makedirs(folder, exist_ok=True)
    for name in os.listdir(folder):
        os.remove(os.path.join(folder, name))
    run(rows, model, folder, "--tokens", ",".join(map(str, IDS)), *options)
    layers = len(os.listdir(folder)) - 2
    names = ["embed"] + [f"layer.{i}" for i in range(layers)] + ["head"]
    return {n: np.fromfile(os.path.join(folder, n)).reshape(len(IDS), -1) for n in names}


class Model:
    """A compiled model whose blocks are outputs too, by their functions' names."""

    def __init__(self, folder, name, blocks):
        net = CORE.read_model(f"{folder}/npu/{name}.xml", f"{folder}/npu/openvino_model.bin")
        there = {n for op in net.get_ordered_ops() for o in op.outputs() for n in o.get_names()}
        self.blocks = [b for b in blocks if b in there]
        net.add_outputs(self.blocks)
        rows = next((op.output(0) for op in net.get_ordered_ops() if op.get_type_name() == "Gather" and
                     "input_ids" in op.input(1).get_source_output().get_names()), None)
        if rows and not rows.get_names():
            rows.set_names({"looked.up"})
            net.add_outputs(["looked.up"])
        self.table = rows and rows.get_any_name()  # what the table gives, in front of what the plan does to it
        self.request = CORE.compile_model(net, "CPU", EXACT).create_infer_request()
        self.inputs = {i.get_any_name(): list(i.shape) for i in net.inputs if i.partial_shape.is_static}

    def call(self, **inputs):
        self.request.infer(inputs)
        return {b: self.request.get_tensor(b).data[0] for b in self.blocks}

    def output(self, name):
        return self.request.get_tensor(name).data.copy()


def stateful(folder, blocks):
    """What each block gives, and the rows of the table."""
    m, got, at, table = Model(folder, "openvino_model", blocks), {b: [] for b in blocks}, 0, []
    for n in CUTS:
        at += n
        rows = m.call(input_ids=np.array([IDS[at - n:at]]), attention_mask=np.ones((1, at), np.int64),
                      position_ids=np.arange(at - n, at)[None], beam_idx=np.zeros(1, np.int32))
        for b in rows:
            got[b].append(rows[b].copy())
        got["head"].append(m.output("logits")[0])
        table.append(m.output(m.table)[0])
    return got, np.concatenate(table)


def static(folder, blocks, table):
    """Chunks, the last one padded on the right, then token by token."""
    prefill, decode, head = (Model(folder, n, blocks) for n in ("npu_prefill", "npu_decode", "npu_head"))
    past = {n: np.zeros(s, np.float32) for n, s in prefill.inputs.items() if n.startswith("past_")}
    got, at = {b: [] for b in blocks}, 0
    while at < len(IDS):
        m, room = (prefill, min(CHUNK, PREFILL - at)) if at < PREFILL else (decode, 1)
        size = m.inputs["embeds"][1]
        embeds, mask = np.zeros((1, size, table.shape[1]), np.float32), np.full((1, 1, size, CONTEXT + size), SCORE_OF_NONE)
        embeds[0, :room] = table[at:at + room]
        mask[:, :, :, :at] = 0
        for t in range(size):
            mask[:, :, t, CONTEXT:CONTEXT + t + 1] = 0
        rows = m.call(embeds=embeds, mask=mask.astype(np.float32), position_ids=np.arange(at, at + size)[None], **past)
        for b in rows:
            got[b].append(rows[b][:room].copy())
        for n, rows in past.items():
            rows[:, :, at:at + room] = m.output(n.replace("past", "new"))[:, :, :room]
        if m is decode:
            got["head"].append(m.output("logits")[0])
        else:
            for row in m.output("rows")[0, :room]:
                head.call(rows=row[None, None])
                got["head"].append(head.output("logits")[0])
        at += room
    return got


def distance(got, wanted):
    """Of the largest element; blocks that a model does not have have no rows."""
    rows = np.concatenate(got).astype(np.float64)
    assert rows.shape == wanted.shape, (rows.shape, wanted.shape)
    return np.abs(rows - wanted).max() / np.abs(wanted).max()


def check(lathe, rows, work, name, model, options, limit=LIMIT):
    folder = os.path.join(work, name)
    run(lathe, "compile", model, "-o", folder, "--target", "npu,c", "--emit", "c", "--golden", "1", "--quiet", "-j", "1",
        "--verify", "off", "--npu-context", str(CONTEXT), "--npu-chunk", str(CHUNK), *options)
    wanted = interpreter(rows, model, work, [o for o in options if o != "--npu-w2=u2" and not o.startswith("--npu-p")])
    got, table = stateful(folder, wanted)
    said = []
    for kind, blocks in (("stateful", got), ("static", static(folder, wanted, table))):
        far = {b: distance(blocks[b], wanted[b]) for b in wanted if blocks[b]}
        missing = [b for b in wanted if b not in far and not (kind == "static" and b == "embed")]
        assert not missing, (name, kind, missing)
        worst = max(far, key=far.get)
        said.append(f"{kind} {far[worst]:.1e} in {worst}")
        if not far[worst] <= limit:
            sys.exit(f"{name}: {kind}: " + ", ".join(f"{b} {d:.1e}" for b, d in far.items()))
    print(f"{name}: {', '.join(said)}")


def tiny(work, name, data):
    path = os.path.join(work, name + ".gguf")
    with open(path, "wb") as f:
        f.write(data)
    return path


def main():
    lathe, rows, work, shared = sys.argv[1:]
    stories = [os.path.join(shared, "data", "stories260K.bin")]
    plans = {n: write_plan(os.path.join(work, f"{n}.json"), p) for n, p in {
        "formats": formats.deal(),
        "two bits": {"weights": {"layers.*.{q,k,v,o}": {"bits": 2, "group": "row"},
                                 "layers.*.{gate,up}": {"bits": 2, "group": 16, "scheme": "asymmetric"},
                                 "layers.*.down": {"bits": 1.58, "group": 16}}},
    }.items()}
    check(lathe, rows, work, "stories", stories[0], [])
    check(lathe, rows, work, "stories8", stories[0], ["--quantize", "layers.*.{q,k,v,o,gate,up}=bits:8,group:32",
                                                      "--quantize", "layers.*.down=bits:4,group:32"])
    check(lathe, rows, work, "formats", stories[0], ["--plan", plans["formats"]])
    check(lathe, rows, work, "two_bits", stories[0], ["--plan", plans["two bits"]])
    check(lathe, rows, work, "u2", stories[0], ["--plan", plans["two bits"], "--npu-w2=u2", "--npu-platform=4000,5010"])
    for name in architectures.MODELS:
        if name in REFUSED:
            model = tiny(work, "refused", architectures.make(name))
            run(lathe, "compile", model, "-o", os.path.join(work, "refused"), "--target", "npu,c", "--emit", "c", status=1)
            continue
        path = write_plan(os.path.join(work, "architecture.json"), architectures.plan(name))
        model = tiny(work, "architecture", architectures.make(name))
        check(lathe, rows, work, name.replace(" ", "_"), model, [])
        check(lathe, rows, work, name.replace(" ", "_") + "_plan", model, ["--plan", path])
    odd = tiny(work, "odd", gguf_model(hidden=8, inter=63, layers=2, heads=2, kv_heads=2, context=64).bytes())
    check(lathe, rows, work, "odd_rows", odd, ["--npu-platform=5010", "--quantize",
                                                        "layers.*.*=bits:4,group:row"])
    l = long_plans
    model = tiny(work, "kinds", gguf_model(hidden=l.HIDDEN, inter=l.INTER, layers=l.LAYERS, heads=4, kv_heads=2,
                                           context=32).bytes())
    path = write_plan(os.path.join(work, "kinds.json"), {"transforms": l.TRANSFORMS, "apply": l.APPLY, "weights": l.F32},
                      l.TENSORS)
    check(lathe, rows, work, "kinds", model, ["--plan", path, "--tied", "twice"])
    del l.APPLY["head.in"]
    path = write_plan(path, {"transforms": l.TRANSFORMS, "apply": l.APPLY, "weights": l.F32}, l.TENSORS)
    check(lathe, rows, work, "kinds_online", model, ["--plan", path, "--tied", "online"])


if __name__ == "__main__":
    main()
