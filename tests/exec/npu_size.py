"""What the target npu costs a compile of SmolLM2: npu_size.py LATHE MODEL WORK

Weights of 4 bits in groups of 64: time of one core, memory, the size of the constants beside the file of the CPU
targets, and the same bytes by other threads."""
import filecmp
import os
import resource
import subprocess
import sys

WEIGHTS = ["--quantize", "layers.*.*=bits:4,group:64,scale:f16"]
SECONDS, MEGABYTES, RATIO = 3, 300, 1.05


def compiled(lathe, model, folder, targets, jobs):
    """Seconds of all cores."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([lathe, "compile", model, "-o", folder, "--target", targets, "--emit=c", "--golden", "1", "--quiet",
                    "-j", str(jobs), *WEIGHTS], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def limit(what, value, most, unit):
    print(f"{what}: {value:.2f} {unit}, of {most} at most")
    if not value <= most:
        sys.exit(f"{what}: beyond {most} {unit}")


def main(lathe, model, work):
    one, many, without = (os.path.join(work, name) for name in ("smollm2", "many/smollm2", "without/smollm2"))
    seconds = compiled(lathe, model, without, "c", 1)
    limit("time of the models", compiled(lathe, model, one, "c,npu", 1) - seconds, SECONDS, "s")
    compiled(lathe, model, many, "c,npu", 3)
    limit("memory of the whole compile", resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024, MEGABYTES, "MB")
    size = os.path.getsize(os.path.join(one, "npu", "openvino_model.bin"))
    limit("constants by the CPU targets' file", size / os.path.getsize(os.path.join(one, "smollm2.weights")), RATIO, "times")
    names = sorted(os.listdir(os.path.join(one, "npu")))
    same, other, missing = filecmp.cmpfiles(os.path.join(one, "npu"), os.path.join(many, "npu"), names, shallow=False)
    if other or missing or len(same) < 7:
        sys.exit(f"other bytes by three threads: {other or missing or names}")
    print(f"{len(same)} files of npu/ are the same by one thread and by three")


main(*sys.argv[1:])
