"""What tests of whole artefacts of the target npu share: the C host on OpenVINO's CPU plugin by the emitted program, and
the folder npu/ as GenAI's LLMPipeline and as the NPU plugin's split (NPUW), both on the CPU too, read it. OpenVINO's
folder is in LATHE_OPENVINO, where the C host looks as well."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "exec"))
import numpy as np  # noqa: E402

from artefact import run  # noqa: E402

# Whole floats everywhere: without them the CPU plugin rounds activations and the cache, to 1e-2 of a block's rows.
EXACT = {"INFERENCE_PRECISION_HINT": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0", "KV_CACHE_PRECISION": "f32"}
DEVICE = "npu:CPU," + ",".join(f"{k}={v}" for k, v in EXACT.items())
NPUW = {"NPU_USE_NPUW": "YES", "NPUW_LLM": "YES", "NPUW_DEVICES": "CPU", "NPUW_LLM_BATCH_DIM": 0, "NPUW_LLM_SEQ_LEN_DIM": 2}


def distance(got, wanted):
    """Of the largest element."""
    got, wanted = np.asarray(got, np.float64), np.asarray(wanted, np.float64)
    assert got.shape == wanted.shape and wanted.size, (got.shape, wanted.shape)
    if not np.isfinite(got).all():
        return np.inf
    return np.abs(got - wanted).max() / np.abs(wanted).max()


def listed(ids):
    return ",".join(map(str, ids))


def interpreter(lathe, model, ids, out, *options):
    """Logits of the double interpreter, which takes activations and cache as floats, as OpenVINO does: [n][vocabulary]."""
    run(lathe, "reference", model, "--tokens", listed(ids), "--arithmetic", "double", "--logits", out, *options)
    return np.fromfile(out).reshape(len(ids), -1)


def logits(program, ids, out, *options):
    """Of every token."""
    run(program, "logits", "--ids", listed(ids), "--all", "--out", out, *options)
    return np.fromfile(out, np.float32).reshape(len(ids), -1)


def greedy(program, ids, n, *options):
    """The text of n tokens behind ids."""
    return run(program, "generate", "--ids", listed(ids), "--n", str(n), "--ignore-eos", *options).stdout


def text(program, ids):
    return run(program, "decode", "--ids", listed(ids)).stdout


def pipeline(folder, ids, n, device="CPU", **properties):
    """What GenAI's LLMPipeline generates from the folder npu/, greedily."""
    import openvino
    import openvino_genai
    pipe = openvino_genai.LLMPipeline(os.path.join(folder, "npu"), device, **properties)
    config = pipe.get_generation_config()
    config.max_new_tokens, config.do_sample, config.ignore_eos = n, False, True
    return list(pipe.generate(openvino.Tensor(np.array([ids], np.int64)), config).tokens[0])


def stateful(folder, device, properties, calls):
    """Logits of the last token of each call of the stateful model; calls: lists of ids. Whatever device runs its parts, the
    CPU plugin keeps to f32."""
    import openvino
    core = openvino.Core()
    core.set_property("CPU", EXACT)
    net = core.read_model(os.path.join(folder, "npu", "openvino_model.xml"))
    request = core.compile_model(net, device, properties).create_infer_request()
    names = {n for port in request.model_inputs for n in port.names}
    past, last = 0, []
    for ids in calls:
        end = past + len(ids)
        inputs = {"input_ids": np.array([ids], np.int64), "attention_mask": np.ones((1, end), np.int64),
                  "position_ids": np.arange(past, end)[None], "beam_idx": np.zeros(1, np.int32)}
        request.infer({k: v for k, v in inputs.items() if k in names})
        last.append(request.get_tensor("logits").data[0, -1].copy())
        past = end
    return np.array(last)
