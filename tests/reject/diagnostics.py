#!/usr/bin/env python3
"""The three forms of diagnostics say the same, and each document is what its standard wants.

    diagnostics.py LATHE

With LATHE_SARIF_SCHEMA (OASIS's sarif-schema-2.1.0.json) and the module jsonschema the SARIF is
checked against the schema too; without them by this file's own reading of the standard.
"""
import json
import os
import re
import subprocess
import sys
import tempfile
import urllib.parse

from plan_cases import MODEL, safetensors

PLANS = {
    "several": (b'{ "lathe_plan": 1,\n\t"transforms": { "\xc3\xa9": { "hadamard": 32 } },\n'
                b'"apply": { "residual": "\xc3\xa8", "layers.*.mlp.mad": "\xc3\xa9" },\n'
                b'"weights": { "layers.*.q": { "bits": 4 }, "layers.0.*": { "bitz": 4 } } }', 5, 1),
    "good": (b'{ "lathe_plan": 1 }', 0, 0),
    "warned": (b'{ "lathe_plan": 1, "transforms": { "R": { "hadamard": 32 } } }', 0, 1),
    "binary": (b'{ "lathe_plan": 1, "data": { "file": "plan.safetensors" } }', 1, 0),
    "many": (json.dumps({"lathe_plan": 1, **{f"k{i}": i for i in range(50)}}).encode(), 20, 0),
    "usage": (None, 1, 0),
}
HEAD = re.compile(r"^(.*?): (?:at byte (\d+): )?(error|warning|note): (.*?)(?: \[(E\d{4})\])?$")


def verify(lathe, folder, *arguments):
    p = subprocess.run([lathe, "verify", "--no-proof", "model.gguf", *arguments], cwd=folder,
                       capture_output=True, timeout=60)
    return p.returncode, p.stderr.decode(), p.stdout


def text_messages(text):
    """[(severity, id, message, place, hints)] of the text form."""
    out = []
    for line in text.split("\n"):
        m = HEAD.match(line)
        if m and not line.startswith(" ") and "the rest is not shown" not in line:
            place = m[1] if m[2] is None else f"{m[1]}@{m[2]}"
            out.append([m[3], m[5], m[4], place, []])
        elif line.startswith("  hint: "):
            next(m for m in reversed(out) if m[0] != "note")[4].append(line[8:])
    return out


def json_place(m):
    if "file" not in m:
        return "lathe"
    if "line" in m:
        return f"{m['file']}:{m['line']}:{m['column']}"
    return f"{m['file']}@{m['offset']}" if m["offset"] else m["file"]


def json_messages(document):
    out = []
    for m in document["diagnostics"]:
        out.append([m["severity"], m["id"], m["message"], json_place(m), m["hints"]])
        out += [["note", None, n["message"], json_place(n), []] for n in m["notes"]]
    return out


def sarif_place(location, folder):
    physical = location.get("physicalLocation")
    if not physical:
        return "lathe"
    uri = physical["artifactLocation"]["uri"]
    assert urllib.parse.urlsplit(uri).scheme in ("", "file")
    name, region = urllib.parse.unquote(uri), physical["region"]
    if "startLine" not in region:
        return f"{name}@{region['byteOffset']}" if region["byteOffset"] else name
    with open(os.path.join(folder, name), encoding="utf-8") as f:
        line = f.read().split("\n")[region["startLine"] - 1]
    column = len(line[:region["startColumn"] - 1].encode()) + 1  # characters to bytes
    return f"{name}:{region['startLine']}:{column}"


def sarif_messages(log, folder):
    assert log["version"] == "2.1.0" and log["$schema"].endswith("sarif-schema-2.1.0.json")
    assert set(log) == {"version", "$schema", "runs"} and len(log["runs"]) == 1
    run = log["runs"][0]
    driver = run["tool"]["driver"]
    assert run["columnKind"] == "unicodeCodePoints" and driver["name"] == "lathe"
    rules = [r["id"] for r in driver["rules"]]
    assert len(set(rules)) == len(rules)
    assert all(r["shortDescription"]["text"] for r in driver["rules"])
    out = []
    for r in run["results"]:
        assert rules[r["ruleIndex"]] == r["ruleId"] and r["level"] in ("error", "warning")
        message, *hints = r["message"]["text"].split("\nhint: ")
        assert len(r["locations"]) <= 1
        place = sarif_place(r["locations"][0], folder) if r["locations"] else "lathe"
        out.append([r["level"], r["ruleId"], message, place, hints])
        out += [["note", None, n["message"]["text"], sarif_place(n, folder), []]
                for n in r["relatedLocations"]]
    errors = sum(m[0] == "error" for m in out)
    assert run["invocations"][0]["executionSuccessful"] == (errors == 0)
    return out


def official_check():
    path = os.environ.get("LATHE_SARIF_SCHEMA")
    try:
        import jsonschema
    except ImportError:
        jsonschema = None
    if not path or not jsonschema:
        print("no LATHE_SARIF_SCHEMA or no jsonschema: SARIF is checked by this test alone")
        return lambda log: None
    with open(path, encoding="utf-8") as f:
        schema = json.load(f)
    return jsonschema.validators.validator_for(schema)(schema).validate


def main():
    lathe = os.path.abspath(sys.argv[1])
    official = official_check()
    for name, (plan, errors, warnings) in PLANS.items():
        with tempfile.TemporaryDirectory() as folder:
            arguments = ["plan.json"] if plan else ["plan.json", "--colour"]
            for file, data in (("model.gguf", MODEL), ("plan.json", plan or b"{}"),
                               ("plan.safetensors", safetensors({"a.codes": ("U8", [1], [0])}))):
                with open(os.path.join(folder, file), "wb") as f:
                    f.write(data)
            code, text, _ = verify(lathe, folder, *arguments)
            wanted = text_messages(text)
            assert sum(m[0] == "error" for m in wanted) == errors, (name, wanted)
            assert sum(m[0] == "warning" for m in wanted) == warnings or name == "several", name
            for form, read in (("json", json_messages),
                               ("sarif", lambda log, folder=folder: sarif_messages(log, folder))):
                got_code, document, _ = verify(lathe, folder, "--diagnostics", form, *arguments)
                document = json.loads(document)
                if form == "sarif":
                    official(document)
                assert got_code == code == (1 if errors else 0), (name, form, code, got_code)
                assert read(document) == wanted, (name, form, read(document), wanted)
    code, text, _ = verify(lathe, ".", "--diagnostics=xml", "plan.json")
    assert code == 1 and "--diagnostics 'xml' is not known" in text
    print(f"{len(PLANS)} plans, three forms")


if __name__ == "__main__":
    main()
