"""Mutants of emitted models, one fault each: mutants.py LATHE ROWS WORK [COUNT [SEED]]

A tiny model with every kind of transform, signed and asymmetric 4-bit weights, 8-bit and float ones. A mutant is killed
where OpenVINO's reader refuses it, where a port is not of the type and shape that OpenVINO derives, or where the CPU
plugin's rows of any block differ from the double interpreter's. All else survives, and must be of a kind below that
changes no function. Each mutant has a process of its own, so one that ends it, or never ends, is killed as well."""
import os
import random
import re
import resource
import shutil
import struct
import sys
import xml.etree.ElementTree as xml

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "exec"), os.path.join(HERE, "..", "reject"), HERE]
import numpy as np  # noqa: E402

import host  # noqa: E402
import long_plans as plans  # noqa: E402
from artefact import run, write_plan  # noqa: E402
from tinymodel import gguf_model  # noqa: E402

CONTEXT, CHUNK, VOCABULARY = 32, 5, 288
SEQUENCES = VOCABULARY // CONTEXT
LIMIT, SECONDS = 1e-5, 60  # of a processor
NETS = ["openvino_model", "npu_prefill", "npu_decode", "npu_head"]
WEIGHTS = {"layers.0.{q,k,v,o,gate,up,down}": {"bits": 4, "group": "row"},
           "layers.1.{q,k,v,o,gate,up,down}": {"bits": 4, "group": 16, "scheme": "asymmetric"},
           "layers.2.{q,k,v,o,gate,up,down}": {"bits": 8, "group": 16, "scale": "f32"},
           "layers.3.{q,k,v,o,gate,up,down}": {"bits": 32}, "{embed,head}": {"bits": 8, "group": "row"}}
# What changes no function, by what was done. Whoever finds another kind explains it here.
EQUIVALENT = {
    "attribute m_pythondiv": "floats are divided alike",
    "attribute auto_broadcast": "shapes that fit alike by both rules",
    "attribute special_zero": "no dimension of the shape is 0",
    "attribute batch_dims": "-1 counts from the end: 0 of indices of rank 1",
    "padding": "codes behind a row's columns, which meet zeros",
    "attribute version": "an older opset's operation of the same meaning",
}


# ---- models and what they give ---------------------------------------------------------------------


def make(lathe, rows, work):
    """(folder, {function: [SEQUENCES][CONTEXT][width] of the double interpreter}, ids)."""
    model, folder = os.path.join(work, "tiny.gguf"), os.path.join(work, "tiny")
    data = gguf_model(hidden=plans.HIDDEN, inter=plans.INTER, layers=plans.LAYERS, heads=4, kv_heads=2, context=CONTEXT,
                      vocabulary=VOCABULARY).bytes()
    # An epsilon of norms that is seen beside the rows.
    usual = data.index(struct.pack("<f", 1e-5), data.index(b"layer_norm_rms_epsilon"))
    with open(model, "wb") as f:
        f.write(data[:usual] + struct.pack("<f", 0.05) + data[usual + 4:])
    plan = write_plan(os.path.join(work, "plan.json"),
                      {"transforms": plans.TRANSFORMS, "apply": plans.APPLY, "weights": WEIGHTS}, plans.TENSORS)
    run(lathe, "compile", model, "-o", folder, "--plan", plan, "--tied", "twice", "--target", "npu,c", "--emit", "c",
        "--golden", "1", "--quiet", "--npu-context", str(CONTEXT), "--npu-chunk", str(CHUNK))
    order = list(range(VOCABULARY))
    random.Random(1).shuffle(order)
    ids = np.array(order).reshape(SEQUENCES, CONTEXT)
    wanted = {}
    for sequence in ids:
        out = os.path.join(work, "rows")
        shutil.rmtree(out, ignore_errors=True)
        os.mkdir(out)
        run(rows, model, out, "--tokens", host.listed(sequence), "--plan", plan, "--tied", "twice")
        for name in os.listdir(out):
            wanted.setdefault(name, []).append(np.fromfile(os.path.join(out, name)).reshape(CONTEXT, -1))
    return folder, {n: np.array(w) for n, w in wanted.items()}, ids


class Wrong(Exception):
    """What a check found."""


def near(what, got, wanted):
    far = host.distance(got, wanted)
    if not far <= LIMIT:
        raise Wrong(f"{what} {far:.1e}")


class Net:
    """A model on the CPU plugin, whose blocks are outputs too."""

    def __init__(self, path, weights, blocks):
        import openvino
        core = openvino.Core()
        net = core.read_model(path, weights)
        self.ports(path, net)
        there = {n for op in net.get_ordered_ops() for o in op.outputs() for n in o.get_names()}
        self.blocks = [b for b in blocks if b in there]
        net.add_outputs(self.blocks)
        self.request = core.compile_model(net, "CPU", host.EXACT).create_infer_request()

    @staticmethod
    def ports(path, net):
        """What the file says of ports, which readers ignore, is what OpenVINO derives."""
        layers = {n.get("name"): n for n in xml.parse(path).getroot().find("layers")}
        for op in net.get_ordered_ops():
            said = layers.get(op.get_friendly_name())
            if said is None:
                raise Wrong(f"no layer {op.get_friendly_name()}")
            # OpenVINO gives a Result an output that files do not have.
            outputs = [] if op.get_type_name() == "Result" else op.outputs()
            # The CPU plugin packs weights once for the same bytes, and takes them for the other order too.
            if op.get_type_name() == "MatMul" and not op.get_attributes()["transpose_b"]:
                raise Wrong(f"{op.get_friendly_name()} reads a matrix by columns")
            for side, ports in (("input", op.inputs()), ("output", outputs)):
                lines = said.findall(side + "/port")
                if len(lines) != len(ports):
                    raise Wrong(f"{len(lines)} ports of {said.get('name')}, not {len(ports)}")
                for line, port in zip(lines, ports):
                    dims = [d.get_length() if d.is_static else -1 for d in port.get_partial_shape()]
                    element = port.get_element_type().get_type_name()
                    precision = {"f32": "FP32", "f16": "FP16", "boolean": "BOOL"}.get(element, element.upper())
                    if [int(d.text) for d in line] != dims or line.get("precision") != precision:
                        raise Wrong(f"a port of {said.get('name')}")

    def __call__(self, **inputs):
        ports = [sorted(port.names & set(inputs)) for port in self.request.model_inputs]
        if sorted(n for names in ports for n in names) != sorted(inputs) or not all(ports):
            raise Wrong(f"inputs {ports}")
        self.request.infer(inputs)

    def output(self, name):
        return self.request.get_tensor(name).data.copy()


def check_stateful(net, wanted, ids):
    """Every token of the vocabulary, every position, in two calls; and a sequence behind blanks."""
    got, at = {}, 0
    for n in (19, CONTEXT - 19):
        at += n
        net(input_ids=ids[:, at - n:at], attention_mask=np.ones((SEQUENCES, at), np.int64),
            position_ids=np.tile(np.arange(at - n, at), (SEQUENCES, 1)), beam_idx=np.arange(SEQUENCES, dtype=np.int32))
        for b in net.blocks:
            got.setdefault(b, []).append(net.output(b))
        got.setdefault("head", []).append(net.output("logits"))
    for b in wanted:
        if b not in got:
            raise Wrong(f"no rows of {b}")
        near(b, np.concatenate(got[b], 1), wanted[b])
    # Filled up on the left, as NPUW does.
    net.request.reset_state()
    blank, n = [0, 0, 0], 9
    net(input_ids=np.array([blank + list(ids[0, :n])]), attention_mask=np.array([blank + [1] * n]),
        position_ids=np.array([blank + list(range(n))]), beam_idx=np.zeros(1, np.int32))
    near("head behind blanks", net.output("logits")[0, len(blank):], wanted["head"][0, :n])


def check_static(net, wanted, table, caches, size, result):
    """Calls of `size` tokens over the whole context, on the right caches, which their new rows must be."""
    for at in range(0, CONTEXT, size):
        n = min(size, CONTEXT - at)
        embeds, mask = np.zeros((1, size, table.shape[1]), np.float32), np.full((1, 1, size, CONTEXT + size), -65504, np.float32)
        embeds[0, :n], mask[..., :at] = table[at:at + n], 0
        for t in range(size):
            mask[0, 0, t, CONTEXT:CONTEXT + t + 1] = 0
        past = {k: np.where(np.arange(CONTEXT)[:, None] < at, v, 0).astype(np.float32) for k, v in caches.items()}
        positions = np.minimum(np.arange(at, at + size), CONTEXT - 1)[None]
        net(embeds=embeds, mask=mask, position_ids=positions, **past)
        for b in wanted:
            if b.startswith("layer") and b not in net.blocks:
                raise Wrong(f"no rows of {b}")
        for b in net.blocks:
            if b != "embed":
                near(b, net.output(b)[0, :n], wanted[b][0, at:at + n])
        last = wanted["head"] if result == "logits" else wanted[f"layer.{plans.LAYERS - 1}"]
        near(result, net.output(result)[0, :n], last[0, at:at + n])
        for k, v in caches.items():
            near(k, net.output(k.replace("past", "new"))[:, :, :n], v[:, :, at:at + n])


def check_net(folder, name, weights, path, facts):
    wanted, ids, table, caches = facts
    net = Net(path or os.path.join(folder, "npu", name + ".xml"), weights, list(wanted))
    if name == "openvino_model":
        check_stateful(net, wanted, ids)
    elif name == "npu_head":
        for t in range(0, CONTEXT, 7):
            net(rows=wanted[f"layer.{plans.LAYERS - 1}"][:1, t:t + 1].astype(np.float32))
            near("head", net.output("logits")[0, 0], wanted["head"][0, t])
    else:
        prefill = name == "npu_prefill"
        check_static(net, wanted, table, caches, CHUNK if prefill else 1, "rows" if prefill else "logits")


def measure(folder, wanted, ids, out):
    """The table's rows and the caches of the first sequence: of the stateful model and of the decode, once both are right."""
    import openvino
    core = openvino.Core()
    weights = os.path.join(folder, "npu", "openvino_model.bin")
    net = core.read_model(os.path.join(folder, "npu", "openvino_model.xml"), weights)
    rows = next(op.output(0) for op in net.get_ordered_ops() if op.get_type_name() == "Gather" and
                "input_ids" in op.input(1).get_source_output().get_names())
    name = next(iter(rows.get_names()), None)
    if not name:
        name = "looked.up"
        rows.set_names({name})
    net.add_outputs([name])
    request = core.compile_model(net, "CPU", host.EXACT).create_infer_request()
    request.infer({"input_ids": ids[:1], "attention_mask": np.ones((1, CONTEXT), np.int64),
                   "position_ids": np.arange(CONTEXT)[None], "beam_idx": np.zeros(1, np.int32)})
    table = request.get_tensor(name).data[0].copy()
    caches = {}
    for state in request.query_state():
        layer, side = re.match(r"past_key_values\.(\d+)\.(key|value)", state.name).groups()
        caches[f"past_{side}.{layer}"] = state.state.data.copy()
    np.savez(out, table=table, **caches)


# ---- faults ----------------------------------------------------------------------------------------


class Files:
    """The texts of the models and their weights; each fault gives (what, its place, {net: text}, weights)."""

    def __init__(self, folder, rng):
        self.rng = rng
        self.texts = {}
        for n in NETS:
            with open(os.path.join(folder, "npu", n + ".xml"), encoding="utf-8") as f:
                self.texts[n] = f.read()
        with open(os.path.join(folder, "npu", "openvino_model.bin"), "rb") as f:
            self.weights = f.read()
        self.constants = {}  # (element, offset, size): the nets that read it
        self.widths = {}  # the same: elements of a row
        for n, text in self.texts.items():
            for element, shape, at, size in re.findall(r'element_type="(\w+)" shape="([^"]*)" offset="(\d+)" size="(\d+)"', text):
                self.constants.setdefault((element, int(at), int(size)), []).append(n)
                self.widths[element, int(at), int(size)] = int(np.prod([int(d) for d in shape.split(",")[1:]] or [1]))

    def constant(self, *elements):
        return self.rng.choice([c for c in sorted(self.constants) if c[0] in elements])

    def changed(self, at, change):
        data = bytearray(self.weights)
        data[at] = change(data[at]) & 255
        return bytes(data)

    def sign(self):
        """The sign of a float that is not 0."""
        while True:
            element, at, size = self.constant("f32", "f16")
            width = 4 if element == "f32" else 2
            at += width * self.rng.randrange(size // width)
            if any(self.weights[at:at + width - 1]) or self.weights[at + width - 1] & 127:
                break
        where = next(c for c in self.constants if c[1] <= at < c[1] + c[2])
        return "sign", f"{element} at {at}", dict.fromkeys(self.constants[where]), self.changed(at + width - 1, lambda b: b ^ 128)

    def nibble(self):
        element, at, size = c = self.constant("i4", "u4", "u2", "i8", "u8")
        byte = self.rng.randrange(size)
        high = self.rng.choice((0, 4))
        flip = self.rng.randrange(1, 16) << high
        index = byte * 2 + high // 4 if element in ("i4", "u4") else byte
        # Codes below a byte come in rows of 64: those of an odd width have some behind them.
        padding = self.widths[c] == 64 and element in ("i4", "u4") and index % 64 >= plans.HIDDEN
        return ("padding" if padding else "nibble", f"{element} at {at + byte}", dict.fromkeys(self.constants[c]),
                self.changed(at + byte, lambda b: b ^ flip))

    def matched(self, what, pattern, change):
        """One match of the pattern in one net, its first group changed."""
        while True:
            n = self.rng.choice(NETS)
            found = list(re.finditer(pattern, self.texts[n]))
            if not found:
                continue
            m = self.rng.choice(found)
            new = change(m, n)
            if new is not None and new != m.group(1):
                break
        text = self.texts[n]
        line = text[text.rfind("<layer", 0, m.start()):m.start()]
        layer = re.match(r'<layer id="(\d+)" name="([^"]*)" type="(\w+)"', line)
        place = f"{n} {layer.group(2) if layer else ''} ({layer.group(3) if layer else ''}): {m.group(1)} to {new}"
        return what, place, {n: text[:m.start(1)] + new + text[m.end(1):]}, None

    def offset(self):
        def change(m, n):
            others = [c[1] for c in self.constants if c[2] >= int(m.group(2))]
            return str(self.rng.choice([int(m.group(1)) + 64, max(0, int(m.group(1)) - 64), self.rng.choice(others)]))
        what, place, nets, weights = self.matched("offset", r'offset="(\d+)" size="(\d+)"', change)
        return what, place, nets, weights

    ATTRIBUTES = {"true": ["false"], "false": ["true"], "numpy": ["none", "pdpd"], "bidirectional": ["numpy"],
                  "f32": ["f16", "i32"], "f16": ["f32"], "i64": ["i32"], "boolean": ["i32"]}

    def attribute(self):
        name = self.rng.choice(["transpose_a", "transpose_b", "auto_broadcast", "m_pythondiv", "keep_dims", "special_zero", "mode",
                                "num_splits", "axis", "batch_dims", "destination_type", "output_type", "causal", "variable_id",
                                "variable_type", "variable_shape", "shape", "element_type"])

        def change(m, n):
            old = m.group(1)
            if re.fullmatch(r"-?\d+", old):
                return str(int(old) + self.rng.choice((-1, 1)))
            if name in ("shape", "variable_shape"):
                dims = old.split(",")
                i = self.rng.randrange(len(dims))
                dims[i] = "7" if dims[i] == "?" else str(int(dims[i] or 1) + self.rng.choice((-1, 1)))
                return ",".join(dims)
            if name == "variable_id":
                return old.replace("key", "kay")
            if name == "element_type":
                return {"i4": "u4", "u4": "i4", "i8": "u8", "u8": "i8", "f32": "i32", "f16": "bf16", "i64": "u64"}.get(old, "f32")
            return self.rng.choice(self.ATTRIBUTES.get(old, [None]))
        return self.matched("attribute " + name, rf' {name}="([^"]*)"', change)

    def edge(self):
        def change(m, n):
            others = re.findall(r'<edge from-layer="(\d+)"', self.texts[n])
            below = [o for o in others if int(o) < int(m.group(2))]
            return self.rng.choice(below) if below else None
        return self.matched("edge", r'<edge from-layer="(\d+)" from-port="\d+" to-layer="(\d+)"', change)

    def port(self):
        return self.matched("port", r'<edge from-layer="\d+" from-port="\d+" to-layer="\d+" to-port="(\d+)"',
                            lambda m, n: str(self.rng.randrange(3)))

    def dimension(self):
        return self.matched("dimension", r"<dim>(-?\d+)</dim>", lambda m, n: str(int(m.group(1)) + 1))

    def precision(self):
        return self.matched("precision", r'precision="(\w+)"', lambda m, n: self.rng.choice(["FP16", "I32", "FP32", "I8"]))

    def name(self):
        return self.matched("name", r' names="([^",]+)', lambda m, n: m.group(1) + "x")

    def type(self):
        swaps = {"Add": "Subtract", "Subtract": "Add", "Multiply": "Divide", "Divide": "Multiply", "Swish": "Sigmoid", "Sqrt": "Exp",
                 "ReduceMean": "ReduceSum", "LessEqual": "Less", "LogicalAnd": "LogicalOr", "Concat": "Add"}
        return self.matched("type", r' type="(\w+)"', lambda m, n: swaps.get(m.group(1)))

    def cut(self):
        """The end of the weights is missing."""
        count = self.rng.randrange(1, 4000)
        return "cut", f"{count} bytes", dict.fromkeys(NETS), self.weights[:-count]

    KINDS = [("sign", 6), ("nibble", 8), ("offset", 5), ("attribute", 12), ("edge", 4), ("port", 2), ("dimension", 2),
             ("precision", 2), ("name", 2), ("type", 4), ("cut", 1)]

    def draw(self):
        return getattr(self, self.rng.choices([k for k, _ in self.KINDS], [w for _, w in self.KINDS])[0])()


# ---- the verdict -----------------------------------------------------------------------------------


def alone(function):
    """function() in a process of its own: what it says; "ended" where the process ended or was too slow."""
    r, w = os.pipe()
    child = os.fork()
    if not child:
        os.close(r)
        resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
        try:
            said = function()
        except Exception as e:  # noqa: BLE001: whatever OpenVINO says kills the mutant
            said = f"{type(e).__name__}: " + " ".join(str(e).split())[-160:]
        os.write(w, said.encode()[:4000])
        os._exit(0)
    os.close(w)
    with os.fdopen(r, "rb") as f:
        said = f.read().decode()
    status = os.waitpid(child, 0)[1]
    return said if not status else f"the process ended: {status}"


def main():
    lathe, rows, work, *rest = sys.argv[1:]
    count, seed = (int(x) for x in (rest + ["240", "1"][len(rest):]))
    folder, wanted, ids = make(lathe, rows, work)
    kept = os.path.join(work, "facts.npz")
    said = alone(lambda: measure(folder, wanted, ids, kept) or "")
    if said:
        sys.exit(f"the emitted model does not run: {said}")
    with np.load(kept) as f:
        arrays = dict(f)
    facts = wanted, ids, arrays.pop("table"), arrays
    weights = os.path.join(folder, "npu", "openvino_model.bin")
    for name in NETS:
        said = alone(lambda name=name: check_net(folder, name, weights, None, facts) or "")
        if said:
            sys.exit(f"{name}, as emitted: {said}")
    files = Files(folder, random.Random(seed))
    tally, seen, survivors = {}, set(), []
    while sum(t[0] for t in tally.values()) < count:
        what, place, nets, data = files.draw()
        if (what, place) in seen:
            continue
        seen.add((what, place))
        other = weights
        if data is not None:
            other = os.path.join(work, "mutant.bin")
            with open(other, "wb") as f:
                f.write(data)
        said = ""
        for name, text in nets.items():
            path = None
            if text is not None:
                path = os.path.join(work, "mutant.xml")
                with open(path, "w", encoding="utf-8") as f:
                    f.write(text)
            said = said or alone(lambda n=name, p=path: check_net(folder, n, other, p, facts) or "")
        t = tally.setdefault(what.split()[0], [0, 0])
        t[0] += 1
        t[1] += bool(said)
        if not sum(n for n, _ in tally.values()) % 40:
            print(f"{sum(n for n, _ in tally.values())} mutants", flush=True)
        if not said:
            survivors.append((what, place))
            print(f"survives: {what}: {place}: {EQUIVALENT.get(what, 'UNEXPLAINED')}", flush=True)
    for what, (n, killed) in sorted(tally.items()):
        print(f"{what}: {killed} of {n} killed")
    killed = count - len(survivors)
    print(f"{killed} of {count} mutants killed, {len(survivors)} survive")
    if any(what not in EQUIVALENT for what, _ in survivors):
        sys.exit("survivors that nothing explains")


if __name__ == "__main__":
    main()
