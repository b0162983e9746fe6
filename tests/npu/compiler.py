"""The NPU's compiler of OpenVINO's Windows wheel, under Wine: Compiler(work, windows).compile(folder, model, platform)."""
import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
PLATFORMS = ["3720", "4000", "5010"]
MODELS = ["npu_decode", "npu_prefill", "npu_head"]


def windows(path):
    return "Z:" + os.path.abspath(path).replace("/", "\\")


class Compiler:
    def __init__(self, work, libraries):
        self.work, self.library = work, os.path.join(libraries, "openvino_c.dll")
        self.program = os.path.join(work, "compile.exe")
        # A prefix of its own; nothing of Wine's is asked for on a display or downloaded.
        self.environment = {**os.environ, "WINEDEBUG": "-all", "WINEPREFIX": os.path.join(work, "wine"), "DISPLAY": "",
                            "WINEDLLOVERRIDES": "mscoree,mshtml="}
        subprocess.run(["x86_64-w64-mingw32-gcc", "-O1", "-Wall", "-Wextra", os.path.join(HERE, "compile.c"), "-o",
                        self.program], check=True)
        subprocess.run(["wineboot", "-i"], env=self.environment, check=True, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL, timeout=600)

    def compile(self, folder, model, platform):
        """(blob, seconds); the test ends where the compiler refuses."""
        blob, message = self.attempt(folder, model, platform)
        if blob is None:
            sys.exit(f"{folder}: {model} is refused for {platform}:\n{message}")
        return blob, float(message)

    def attempt(self, folder, model, platform):
        """(blob, seconds as text), or (None, the message)."""
        blob = os.path.join(self.work, "blob")
        if os.path.exists(blob):
            os.remove(blob)
        files = [os.path.join(folder, "npu", n) for n in (model + ".xml", "openvino_model.bin")]
        p = subprocess.run(["wine", self.program, windows(self.library), *map(windows, files), platform, windows(blob)],
                           env=self.environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace")
        if p.returncode:
            return None, p.stdout + p.stderr
        with open(blob, "rb") as f:
            return f.read(), p.stdout.strip().split("\n")[-1]
