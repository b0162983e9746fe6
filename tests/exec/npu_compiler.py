"""The NPU's compiler, under Wine, takes what lathe writes: npu_compiler.py LATHE WORK WINDOWS SHARED [SMOLLM2.GGUF]

Static models of stories260K in two formats and of SmolLM2 by row and by groups, for every generation; the same bytes when
compiled again, in another folder. Prints sizes and seconds."""
import os
import shutil
import sys

sys.path[:0] = [os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "npu")]
import smollm2  # noqa: E402
from artefact import run  # noqa: E402
from compiler import MODELS, PLATFORMS, Compiler  # noqa: E402

COMMON = ["--target", "npu,c", "--emit", "c", "--golden", "1", "--quiet"]
STORIES = {"f32": [], "mixed": ["--quantize", "{embed,head}=bits:8,group:row", "--quantize", "layers.*.{q,k,v,o}=bits:4,group:row",
                                "--quantize", "layers.*.{gate,up,down}=bits:4,group:32,scale:f32"]}
# Compiled twice: of every model of stories260K, and of one of SmolLM2, which takes minutes.
AGAIN = {("stories f32", None, None), ("stories mixed", None, None), ("SmolLM2 row", "npu_decode", "4000")}


def again(name, model, platform):
    return any(n == name and m in (None, model) and p in (None, platform) for n, m, p in AGAIN)


def table(compiler, name, folder):
    weights = os.path.getsize(os.path.join(folder, "npu", "openvino_model.bin"))
    print(f"{name}: openvino_model.bin {weights} bytes")
    other = folder + ".again"
    shutil.copytree(os.path.join(folder, "npu"), os.path.join(other, "npu"))
    for model in MODELS:
        for platform in PLATFORMS:
            blob, seconds = compiler.compile(folder, model, platform)
            if blob[-5:] != b"OVNPU" or f"npu={platform}".encode() not in blob[-200:]:
                sys.exit(f"{name}: {model} for {platform}: {blob[-200:]!r} is no blob's end")
            line = f"{name}: {model} {platform}: {len(blob)} bytes, {seconds:.0f} s"
            if again(name, model, platform):
                if compiler.compile(other, model, platform)[0] != blob:
                    sys.exit(f"{line}: other bytes the second time")
                line += ", twice the same"
            print(line, flush=True)
    shutil.rmtree(other)


def main():
    lathe, work, windows, shared, *models = sys.argv[1:]
    compiler = Compiler(work, windows)
    for name, options in STORIES.items():
        folder = os.path.join(work, name)
        run(lathe, "compile", os.path.join(shared, "data", "stories260K.bin"), *COMMON, *options, "-o", folder)
        table(compiler, f"stories {name}", folder)
    for model in models:
        for name in smollm2.GROUPS:
            folder = os.path.join(work, name)
            run(lathe, "compile", model, *COMMON, "--plan", smollm2.plan(work, name), "-o", folder)
            table(compiler, f"SmolLM2 {name}", folder)


if __name__ == "__main__":
    main()
