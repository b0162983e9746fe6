#!/usr/bin/env python3
"""report.html of an artefact: well-formed, self-contained, labelled, readable, and of the same figures as the files beside it.

    report.py FOLDER [WORD...]     the words are hostile names: they may be in the text, never in the markup
"""
import html.parser
import json
import os
import re
import subprocess
import sys

VOID = {"meta", "input", "br", "link", "img", "hr"}
faults = []


def check(ok, what):
    if not ok:
        faults.append(what)


class Page(html.parser.HTMLParser):
    """All elements in order; an error for each that is not closed where it must be."""

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.open, self.elements, self.facts, self.text = [], [], {}, []

    def handle_starttag(self, tag, attributes):
        element = dict(attributes, tag=tag, words="")
        check(len(attributes) == len(dict(attributes)), f"{tag} has an attribute twice at {self.getpos()}")
        self.elements.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_startendtag(self, tag, attributes):
        self.elements.append(dict(attributes, tag=tag, words=""))

    def handle_endtag(self, tag):
        if not self.open or self.open[-1]["tag"] != tag:
            sys.exit(f"</{tag}> at {self.getpos()} closes {[e['tag'] for e in self.open[-3:]]}")
        self.open.pop()

    def handle_data(self, data):
        self.text.append(data)
        for element in self.open:
            element["words"] += data


def of_tag(page, tag):
    return [e for e in page.elements if e["tag"] == tag]


def check_labels(page):
    ids = [e["id"] for e in page.elements if "id" in e]
    check(len(ids) == len(set(ids)), f"ids are not unique: {sorted(i for i in ids if ids.count(i) > 1)[:4]}")
    for e in page.elements:
        for key in ("aria-labelledby", "for"):
            for name in e.get(key, "").split():
                check(name in ids, f"{e['tag']} {key}={name}: no such id")
        if e.get("role") in ("region", "group") or e["tag"] == "nav":
            check(e.get("aria-label"), f"{e['tag']} has a role and no label")
        if e.get("role") == "region":
            check(e.get("tabindex") == "0", "a region that scrolls is out of the keyboard's reach")
        if e.get("role") == "img":
            check(e.get("aria-labelledby"), "a picture without a title")
        if e["tag"] == "a":
            check(e["href"].startswith("#") and e["href"][1:] in ids, f"link to {e['href']}")
    labelled = {e.get("for") for e in of_tag(page, "label")}
    for e in of_tag(page, "input"):
        check(e.get("id") in labelled, f"input {e.get('id')} has no label")
    for e in of_tag(page, "th"):
        check(e.get("scope") in ("row", "col"), "a head of a table without scope")
        check(e["words"].strip(), "a head of a table without words")
    for tag in ("summary", "h1", "h2", "h3", "title", "caption"):
        for e in of_tag(page, tag):
            check(e["words"].strip(), f"an empty {tag}")
    level = 0
    for e in page.elements:
        if re.fullmatch("h[1-6]", e["tag"]):
            check(int(e["tag"][1]) <= level + 1, f"a heading of level {e['tag'][1]} under one of level {level}")
            level = int(e["tag"][1])
    check(len(of_tag(page, "h1")) == 1 and len(of_tag(page, "main")) == 1, "one h1 and one main")
    check(of_tag(page, "html")[0].get("lang") == "en", "no language")
    links = of_tag(page, "a")
    check(links and links[0].get("class") == "skip" and links[0]["href"] == "#main", "the first link is no skip link")


def check_alone(page, text):
    for e in page.elements:
        check(e["tag"] not in ("link", "iframe", "object", "embed", "base", "img"), f"an element {e['tag']}")
        for key in e:
            check(key not in ("src", "srcset", "action", "poster", "data", "background"), f"{e['tag']} {key}")
            check(not key.startswith("on"), f"a handler in markup: {e['tag']} {key}")
    check(not re.search(r"url\((?!#)", text) and "@import" not in text, "a style that loads something")
    check("http://" not in text and "https://" not in text, "an address")
    check(len(text.encode()) < 1000000, f"{len(text.encode())} bytes")
    holes = re.findall(r"@[a-z_]+@", text)
    check(not holes, f"holes that nothing filled: {holes}")


def luminance(colour):
    parts = [int(colour[i:i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(a, b):
    low, high = sorted((luminance(a), luminance(b)))
    return (high + 0.05) / (low + 0.05)


def check_colours(text):
    """WCAG 2.2, AA: 4.5 for text, 3 for what pictures are made of."""
    roots = re.findall(r":root \{([^}]*)\}", text)
    light = dict(re.findall(r"--([a-z0-9-]+): (#[0-9a-f]{6})", roots[0]))
    dark = dict(light, **dict(re.findall(r"--([a-z0-9-]+): (#[0-9a-f]{6})", roots[1])))
    check(light["page"] != dark["page"], "dark is light")
    words = [("ink", "page"), ("soft", "page"), ("ink", "raised"), ("soft", "raised"), ("accent", "page"),
             ("on-accent", "accent"), ("ink", "tint")]
    words += [(f"th{n}", f"h{n}") for n in (2, 3, 4, 5, 6, 8, 16, 32)]
    lines = [("edge", "page"), ("edge", "raised"), ("accent", "page"), ("codes", "page"), ("cache", "page")]
    for name, theme in (("light", light), ("dark", dark)):
        for least, pairs in ((4.5, words), (3, lines)):
            for a, b in pairs:
                got = contrast(theme[a], theme[b])
                check(got >= least, f"{name}: {a} on {b} has a contrast of {got:.2f}, wanted {least}")


def machine_code(folder, name):
    """Bytes of the sections that are executed in the library's objects, as binutils print them."""
    out = subprocess.run(["readelf", "-SW", f"{folder}/lib{name}.a"], check=True, capture_output=True, text=True).stdout
    sections = re.findall(r"^ *\[ *\d+\] \S+ +\w+ +[0-9a-f]+ [0-9a-f]+ ([0-9a-f]+) [0-9a-f]+ +(\w*) ", out, re.M)
    return sum(int(size, 16) for size, flags in sections if "X" in flags)


def check_figures(page, folder):
    with open(os.path.join(folder, "manifest.json"), encoding="utf-8") as f:
        manifest = json.load(f)
    facts = {}
    for e in page.elements:
        if "data-fact" in e:
            check(e["data-fact"] not in facts, f"{e['data-fact']} is said twice")
            facts[e["data-fact"]] = int(e["value"]) if "value" in e else e["words"]
    name = manifest["name"]
    sizes = {f["name"]: f["bytes"] for f in manifest["files"]}
    unique = {c["offset"]: c["bytes"] for c in manifest["constants"] if c["format"] != "tables"}
    tables = {c["offset"]: c["bytes"] for c in manifest["constants"] if c["format"] == "tables"}
    with open(os.path.join(folder, name + "_internal.h"), encoding="utf-8") as f:
        header = {k: int(v) for k, v in re.findall(r"(\w+) = (\d+),", f.read())}
    wanted = {"build": manifest["build"], "n_vocab": manifest["model"]["n_vocab"], "n_ctx": manifest["model"]["n_ctx"],
              "bytes_per_token": manifest["bytes_per_token"], "weights_file_bytes": sizes[name + ".weights"],
              "activation_bytes_per_token": manifest["activation_bytes_per_token"], "kv_bytes": header["KV_BYTES"],
              "scratch_bytes": header["SCRATCH_BYTES"]}
    if os.path.exists(f"{folder}/lib{name}.a"):
        wanted["text_bytes"] = machine_code(folder, name)
        check(wanted["text_bytes"] > 1000, "readelf shows no code")
    for key, value in wanted.items():
        check(facts.get(key) == value, f"{key}: the report says {facts.get(key)}, the files {value}")
    stored = sum(facts[key] for key in ("code_bytes", "scale_bytes", "vector_bytes"))
    check(stored == sum(unique.values()), f"stored: the report says {stored}, the manifest {sum(unique.values())}")
    check(facts["table_bytes"] >= sum(tables.values()), "tables of transforms in the weights")
    check(facts["stored_bytes"] == stored + facts["table_bytes"], "the sum of what is stored")
    check("transform_adds" in facts and "transform_multiplies" in facts, "what transforms add is not said")
    kernels = [e["data-kernel"] for e in page.elements if "data-kernel" in e]
    check(kernels == [k["name"] for k in manifest["kernels"]], "other kernels than the manifest's")
    for e, k in zip((e for e in page.elements if "data-kernel" in e), manifest["kernels"]):
        check(k["computes"] in e["words"], f"{k['name']}: other words than the manifest's")
    files = [e for e in page.elements if "data-file" in e]
    listed = [f["name"] for f in manifest["files"]]
    check(listed[-1] == "report.html" and [e["data-file"] for e in files] == listed[:-1], "other files than the manifest's")
    check(sizes["report.html"] == os.path.getsize(os.path.join(folder, "report.html")), "its own size")
    for e in files:
        shown = e["words"].strip()
        value = float(re.search(r"([0-9.]+) [kMG]?B$", shown).group(1))
        unit = {"B": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9}[shown.rsplit(" ", 1)[1]]
        check(abs(value * unit - sizes[e["data-file"]]) <= 0.006 * sizes[e["data-file"]], f"size of {shown}")
    return kernels


def main():
    folder, hostile = sys.argv[1], sys.argv[2:]
    with open(os.path.join(folder, "report.html"), encoding="utf-8") as f:
        text = f.read()
    page = Page()
    page.feed(text)
    page.close()
    check(not page.open, f"never closed: {[e['tag'] for e in page.open]}")
    check_labels(page)
    check_alone(page, text)
    check_colours(text)
    kernels = check_figures(page, folder)
    body = "".join(page.text)
    for word in hostile:
        check(word in body, f"{word!r} is not in the text")
        check(word not in text, f"{word!r} stands as it is in the markup")
    check("/tmp/" not in text and os.path.abspath(folder) not in text, "a path")
    check(not re.search(r"\b20[0-9][0-9]-[01][0-9]-", text), "a date")
    # Kernels without their source would make the section a list of names.
    check(len([e for e in of_tag(page, "pre") if "{" in e["words"]]) >= min(4, len(kernels)), "no source")
    for fault in faults[:20]:
        print(fault)
    sys.exit(bool(faults))


main()
