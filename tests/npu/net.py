"""Nets of the target npu beside OpenVINO: net.py FOLDER OPERATIONS.DEF ELEMENTS.DEF

For each XML of the folder, all on FOLDER/nets.bin: what OpenVINO writes back of it has the same
layers, attributes, ports and dimensions, so nothing was left to its defaults and every derived
shape is its own; and its CPU plugin's results are those of the layers in numpy, in double, as
OpenVINO's specification defines the operations. Every row of both tables must have come by."""
import os
import re
import sys
import tempfile
import xml.etree.ElementTree as xml

import numpy as np
import openvino as ov

EXACT = {"INFERENCE_PRECISION_HINT": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0", "KV_CACHE_PRECISION": "f32"}
TYPES = {"f32": np.float32, "f16": np.float16, "i64": np.int64, "i32": np.int32, "i8": np.int8, "u8": np.uint8}
BITS = {"i4": 4, "u4": 4, "u2": 2}
# Of parameters with open shapes, by call: keys grow by 3 each.
SIZES = {"any": lambda call: (2, 3, 8), "ids": lambda call: (2, 3), "seen": lambda call: (2, 5), "beam": lambda call: (2,),
         "q": lambda call: (2, 2, 3, 4), "key": lambda call: (2, 2, 3, 4), "value": lambda call: (2, 2, 3, 4),
         "mask": lambda call: (2, 1, 3, 3 * call)}


def wide(x):
    """Floats as doubles: the results to compare with are not rounded."""
    return x.astype(np.float64) if x.dtype.kind == "f" else x


class Layer:
    def __init__(self, node):
        self.name, self.type, self.opset = (node.get(k) for k in ("name", "type", "version"))
        data = node.find("data")
        self.data = dict(data.attrib) if data is not None else {}
        self.marks = sorted(a.get("name") for a in node.findall("rt_info/attribute"))
        self.ports = [[(p.get("id"), p.get("precision"), [int(d.text) for d in p]) for p in node.findall(side + "/port")]
                      for side in ("input", "output")]
        self.inputs = []


def layers_of(path):
    """Layers in the order of the file; inputs are (layer, output port)."""
    root = xml.parse(path).getroot()
    layers = {n.get("id"): Layer(n) for n in root.find("layers")}
    edges = {(e.get("to-layer"), e.get("to-port")): (e.get("from-layer"), e.get("from-port")) for e in root.find("edges")}
    for ident, layer in layers.items():
        for port, _, _ in layer.ports[0]:
            source, output = edges[ident, port]
            layer.inputs.append((layers[source], output))
    return list(layers.values())


# ---- the operations --------------------------------------------------------------------------


def constant(layer, file):
    element, at, size = layer.data["element_type"], int(layer.data["offset"]), int(layer.data["size"])
    shape = [int(d) for d in layer.data["shape"].split(",") if d]
    raw = np.frombuffer(file[at:at + size], np.uint8)
    assert len(raw) == size and at % 64 == 0
    if element in TYPES:
        return raw.view(TYPES[element]).reshape(shape)
    bits = BITS[element]
    codes = np.stack([raw >> shift & (1 << bits) - 1 for shift in range(0, 8, bits)], -1).reshape(-1).astype(np.int8)
    if element == "i4":
        codes = np.where(codes > 7, codes - 16, codes).astype(np.int8)
    return codes[:int(np.prod(shape))].reshape(shape)


def matmul(d, a, b):
    assert d["transpose_a"] == "false"
    return a @ (b.swapaxes(-1, -2) if d["transpose_b"] == "true" else b)


def reshape(d, x, to):
    assert d["special_zero"] == "true"
    return x.reshape([x.shape[i] if n == 0 else n for i, n in enumerate(to)])


def broadcast(d, x, to):
    return np.broadcast_to(x, np.broadcast_shapes(x.shape, tuple(to)) if d["mode"] == "bidirectional" else tuple(to))


def softmax(x, axis):
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def slices(d, x, start, stop, step, axes):
    cut = [slice(None)] * x.ndim
    for i, axis in enumerate(axes):
        cut[axis] = slice(start[i], stop[i], step[i])
    return x[tuple(cut)]


def attention(d, q, k, v, mask):
    assert d["causal"] == "false"
    return softmax(q @ k.swapaxes(-1, -2) / np.sqrt(q.shape[-1]) + mask, -1) @ v


def convert(d, x):
    to = d["destination_type"]
    return x != 0 if to == "boolean" else x.astype(np.float64 if to in ("f32", "f16") else TYPES[to])


OPERATIONS = {
    "Convert": convert,
    "Add": lambda d, a, b: a + b,
    "Subtract": lambda d, a, b: a - b,
    "Multiply": lambda d, a, b: a * b,
    "Divide": lambda d, a, b: a / b,
    "Sqrt": lambda d, x: np.sqrt(x),
    "Swish": lambda d, x: x / (1 + np.exp(-x)),
    "ReduceMean": lambda d, x, axes: x.mean(tuple(axes), keepdims=d["keep_dims"] == "true"),
    "MatMul": matmul,
    "Reshape": reshape,
    "Transpose": lambda d, x, order: x.transpose(order),
    "Unsqueeze": lambda d, x, axes: np.expand_dims(x, tuple(axes)),
    "Broadcast": broadcast,
    "Split": lambda d, x, axis: tuple(np.split(x, int(d["num_splits"]), int(axis))),
    "Slice": slices,
    "Concat": lambda d, *x: np.concatenate(x, int(d["axis"])),
    "Gather": lambda d, x, indices, axis: np.take(x, indices, int(axis)),
    "ShapeOf": lambda d, x: np.array(x.shape),
    "Range": lambda d, start, stop, step: np.arange(start, stop, step),
    "LessEqual": lambda d, a, b: a <= b,
    "LogicalAnd": lambda d, a, b: a & b,
    "ScaledDotProductAttention": attention,
}


def evaluate(layers, file, given, state):
    """Results in the order of the file; `state` is read, then written."""
    values, results, kept = {}, [], {}
    for layer in layers:
        x = [values[source, port] for source, port in layer.inputs]
        if layer.type == "Parameter":
            y = wide(given[layer.name])
        elif layer.type == "Const":
            y = wide(constant(layer, file))
        elif layer.type == "ReadValue":
            y = state.get(layer.data["variable_id"], x[0])
        elif layer.type in ("Assign", "Result"):
            y = x[0]
            if layer.type == "Assign":
                kept[layer.data["variable_id"]] = y
            else:
                results.append(y)
        else:
            y = OPERATIONS[layer.type](layer.data, *x)
        for (port, _, _), output in zip(layer.ports[1], y if isinstance(y, tuple) else (y,)):
            values[layer, port] = output
    state.update(kept)
    return results


# ---- beside OpenVINO -------------------------------------------------------------------------


def same_as_read(ours, theirs):
    """OpenVINO orders layers and places constants anew; names find them again."""
    theirs = {layer.name: layer for layer in theirs}
    assert set(theirs) == {layer.name for layer in ours}
    for layer in ours:
        other = theirs[layer.name]
        assert (layer.type, layer.opset) == (other.type, other.opset), (layer.name, other.opset)
        for data in (layer.data, other.data):
            data.pop("offset", None)
            if "shape" in data:
                data["shape"] = data["shape"].replace(" ", "")
        assert list(layer.data) == list(other.data) and layer.data == other.data, (layer.name, layer.data, other.data)
        assert layer.marks == other.marks, (layer.name, layer.marks, other.marks)
        assert layer.ports == other.ports, (layer.name, layer.ports, other.ports)


def inputs_of(layers, call, random):
    given = {}
    for layer in layers:
        if layer.type != "Parameter":
            continue
        dims = layer.data["shape"].split(",")
        shape = SIZES[layer.name](call) if "?" in dims else [int(d) for d in dims]
        integer = layer.data["element_type"][0] == "i"
        given[layer.name] = (random.integers(0, 2, shape).astype(TYPES[layer.data["element_type"]]) if integer
                             else random.standard_normal(shape).astype(np.float32))
    return given


def compare(folder, name, core):
    path, bin_path = (os.path.join(folder, f) for f in (name, "nets.bin"))
    file = open(bin_path, "rb").read()
    layers = layers_of(path)
    model = core.read_model(path, bin_path)
    names = [o.get_any_name() for o in model.outputs]
    request = core.compile_model(model, "CPU", EXACT).create_infer_request()
    random, state, worst = np.random.default_rng(1), {}, 0.0
    for call in 1, 2:  # what is kept by the first is read by the second
        given = inputs_of(layers, call, random)
        expected = evaluate(layers, file, given, state)
        got = request.infer(given)
        assert len(expected) == len(names)
        for i, y in enumerate(expected):
            x = got[i].astype(np.float64)
            assert x.shape == y.shape, (name, names[i], x.shape, y.shape)
            assert np.abs(y).max() > 0, (name, names[i], "nothing to compare")
            error = np.abs(x - y).max() / np.abs(y).max()
            assert error < 2e-6, (name, names[i], error)
            worst = max(worst, error)
    with tempfile.TemporaryDirectory() as work:
        written = os.path.join(work, "written")
        ov.serialize(model, written + ".xml", written + ".bin")
        same_as_read(layers_of(path), layers_of(written + ".xml"))
    print(f"{name}: {len(layers)} layers, worst relative difference {worst:.1e}")
    return layers


def column(path, macro, i):
    rows = re.findall(rf"^{macro}\((.*)\)$", open(path).read(), re.M)
    return {row.split(",")[i].strip().strip('"') for row in rows}


def main(folder, operations, elements):
    core, seen, types = ov.Core(), set(), set()
    for name in sorted(f for f in os.listdir(folder) if f.endswith(".xml")):
        layers = compare(folder, name, core)
        seen |= {layer.type for layer in layers}
        types |= {port[1] for layer in layers for side in layer.ports for port in side}
    for what, wanted, found in (("operation", column(operations, "OPERATION", 1), seen),
                                ("element type", column(elements, "ELEMENT", 2), types)):
        assert wanted and found <= wanted
        for missing in sorted(wanted - found):
            sys.exit(f"no case has the {what} {missing}")
    print(f"{len(seen)} operations, {len(types)} element types")


main(*sys.argv[1:])
