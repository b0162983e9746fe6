#!/usr/bin/env python3
"""Chat templates: what Lathe's Jinja makes of conversations is what the package jinja2 makes of them, as transformers
sets it up; the form that a compile finds gives jinja2's text of whole conversations; the fuzz target's corpus.

    chat_templates.py cases FOLDER                  writes FOLDER/cases.json
    chat_templates.py test LATHE CHAT_FUZZ WORK [TEMPLATE...]

The templates are of the forms that models have, written for this test; files named behind WORK are tried too.
"""
import itertools
import json
import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "reject")]
import tokenizer_gguf  # noqa: E402
from emitted_tokenizer import build, encode  # noqa: E402
from tinymodel import bpe_vocabulary, gguf_model  # noqa: E402

ALTERNATE = ("{%- if (m['role'] == 'user') != (loop.index0 % 2 == 0) -%}{{ raise_exception('roles must take turns') }}"
             "{%- endif -%}")
# name: (template, name of the form or None where there is none, whether it takes a system text)
TEMPLATES = {
    "chatml": ("{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>' + '\\n' }}"
               "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}", "ChatML", True),
    "smollm2": ("{% for m in messages %}{% if loop.first and m.role != 'system' %}<|im_start|>system\nBe brief.<|im_end|>\n"
                "{{ '' }}{% endif %}<|im_start|>{{ m.role + '\n' + m.content }}<|im_end|>\n{{ '' }}{% endfor %}"
                "{{ '<|im_start|>assistant\n' if add_generation_prompt }}", "ChatML", True),
    "qwen2.5": ("""{%- if tools %}
    {{- 'tools: ' + (tools | tojson) }}
{%- else %}
    {%- if messages[0]['role'] == 'system' %}
        {{- '<|im_start|>system\\n' + messages[0]['content'] + '<|im_end|>\\n' }}
    {%- else %}
        {{- '<|im_start|>system\\nYou are a test.<|im_end|>\\n' }}
    {%- endif %}
{%- endif %}
{%- for m in messages %}
    {%- if m.role == "user" or (m.role == "system" and not loop.first) or (m.role == "assistant" and not m.tool_calls) %}
        {{- '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>' + '\\n' }}
    {%- elif m.role == "tool" %}
        {%- if loop.index0 == 0 or messages[loop.index0 - 1].role != "tool" %}
            {{- '<|im_start|>user' }}
        {%- endif %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
""", "ChatML", True),
    "qwen3": ("""{%- if messages[0].role == 'system' %}
    {{- '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' }}
{%- endif %}
{%- set ns = namespace(open=true, last=messages|length - 1) %}
{%- for m in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.open and m.role == "user" and m.content is string and not(m.content.startswith('<tool>') and m.content.endswith('</tool>')) %}
        {%- set ns.open = false %}
        {%- set ns.last = index %}
    {%- endif %}
{%- endfor %}
{%- for m in messages %}
    {%- if m.content is string %}
        {%- set content = m.content %}
    {%- else %}
        {%- set content = '' %}
    {%- endif %}
    {%- if (m.role == "user") or (m.role == "system" and not loop.first) %}
        {{- '<|im_start|>' + m.role + '\\n' + content + '<|im_end|>' + '\\n' }}
    {%- elif m.role == "assistant" %}
        {%- set thought = '' %}
        {%- if '</think>' in content %}
            {%- set thought = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}
            {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
        {%- endif %}
        {%- if loop.index0 > ns.last and (loop.last or thought) %}
            {{- '<|im_start|>assistant\\n<think>\\n' + thought.strip('\\n') + '\\n</think>\\n\\n' + content.lstrip('\\n') }}
        {%- else %}
            {{- '<|im_start|>' + m.role + '\\n' + content }}
        {%- endif %}
        {{- '<|im_end|>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if thinking is defined and thinking is false %}
        {{- '<think>\\n\\n</think>\\n\\n' }}
    {%- endif %}
{%- endif %}""", "ChatML", True),
    "llama2": ("{% if messages[0]['role'] == 'system' %}{% set rest = messages[1:] %}{% set s = messages[0]['content'] %}"
               "{% else %}{% set rest = messages %}{% set s = false %}{% endif %}{% for m in rest %}" + ALTERNATE +
               "{% if loop.index0 == 0 and s != false %}{% set c = '<<SYS>>\\n' + s + '\\n<</SYS>>\\n\\n' + m['content'] %}"
               "{% else %}{% set c = m['content'] %}{% endif %}{% if m['role'] == 'user' %}"
               "{{ bos_token + '[INST] ' + c.strip() + ' [/INST]' }}{% elif m['role'] == 'assistant' %}"
               "{{ ' ' + c.strip() + ' ' + eos_token }}{% endif %}{% endfor %}", "Llama 2", True),
    "llama3": ("{% for m in messages %}{% set c = '<|start_header_id|>' + m['role'] + '<|end_header_id|>\n\n'+ "
               "m['content'] | trim + '<|eot_id|>' %}{% if loop.index0 == 0 %}{% set c = bos_token + c %}{% endif %}"
               "{{ c }}{% endfor %}{% if add_generation_prompt %}"
               "{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}", "Llama 3", True),
    "llama3.1": ("""{{- bos_token }}
{%- if not date is defined %}
    {%- if strftime_now is defined %}
        {%- set date = strftime_now("%d %b %Y") %}
    {%- else %}
        {%- set date = "26 Jul 2024" %}
    {%- endif %}
{%- endif %}
{#- the system text, -#}
{%- if messages[0]['role'] == 'system' %}
    {%- set s = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set s = "" %}
{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\\n\\nToday: " + date + "\\n\\n" + s + "<|eot_id|>" }}
{%- for m in messages %}
    {%- if not (m.role == 'tool' or 'tool_calls' in m) %}
        {{- '<|start_header_id|>' + m['role'] + '<|end_header_id|>\\n\\n'+ m['content'] | trim + '<|eot_id|>' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
""", "Llama 3", True),
    "mistral": ("{{ bos_token }}{% for m in messages %}" + ALTERNATE + "{% if m['role'] == 'user' %}"
                "{{ '[INST] ' + m['content'] + ' [/INST]' }}{% elif m['role'] == 'assistant' %}"
                "{{ m['content'] + eos_token }}{% endif %}{% endfor %}", "Mistral", False),
    "mistral v3": ("""{%- if messages[0]["role"] == "system" %}
    {%- set s = messages[0]["content"] %}
    {%- set rest = messages[1:] %}
{%- else %}
    {%- set rest = messages %}
{%- endif %}
{%- set users = rest | selectattr("role", "equalto", "user") | list %}
{%- set ns = namespace() %}
{%- set ns.index = 0 %}
{%- for m in rest %}
    {%- if (m["role"] == "user") != (ns.index % 2 == 0) %}
        {{- raise_exception("roles must take turns") }}
    {%- endif %}
    {%- set ns.index = ns.index + 1 %}
{%- endfor %}
{{- bos_token }}
{%- for m in rest %}
    {%- if m["role"] == "user" %}
        {%- if m == users[-1] and s is defined %}
            {{- "[INST] " + s + "\\n\\n" + m["content"] + "[/INST]" }}
        {%- else %}
            {{- "[INST] " + m["content"] + "[/INST]" }}
        {%- endif %}
    {%- else %}
        {{- m["content"] + eos_token }}
    {%- endif %}
{%- endfor %}
""", "Mistral", False),
    "gemma3": ("""{{ bos_token }}
{%- if messages[0]['role'] == 'system' -%}
    {%- set front = (messages[0]['content'] if messages[0]['content'] is string else messages[0]['content'][0]['text']) + '\n\n' -%}
    {%- set rest = messages[1:] -%}
{%- else -%}
    {%- set front = "" -%}
    {%- set rest = messages -%}
{%- endif -%}
{%- for m in rest -%}
    """ + ALTERNATE + """
    {{ '<start_of_turn>' + ("model" if m['role'] == 'assistant' else m['role']) + '\n' + (front if loop.first else "") }}
    {%- if m['content'] is string -%}
        {{ m['content'] | trim }}
    {%- elif m['content'] is iterable -%}
        {%- for part in m['content'] -%}{{ part['text'] | trim }}{%- endfor -%}
    {%- endif -%}
    {{ '<end_of_turn>\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{'<start_of_turn>model
'}}
{%- endif -%}
""", "Gemma", True),
    "macros": ("{% macro turn(role, text='') %}<|{{ role }}|>\n{{ text }}<|end|>\n{% endmacro %}{% for m in messages %}"
               "{{ turn(m.role, text=m.content) }}{% endfor %}{% if add_generation_prompt %}<|assistant|>\n{{ '' }}{% endif %}",
               "Phi-3", True),
    "vicuna": ("{{ 'A chat.' if messages[0].role != 'system' }}{% for m in messages %}{% if m.role == 'system' %}"
               "{{ m.content }}{% elif m.role == 'user' %}{{ ' USER: ' ~ m.content }}{% else %}"
               "{{ ' ASSISTANT: ' ~ m.content ~ eos_token }}{% endif %}{% endfor %}"
               "{{ ' ASSISTANT:' if add_generation_prompt }}", "a form of its own", True),
    # of no form
    "thinking": ("{% for m in messages %}{{ '<u>' + m.content if m.role == 'user' else '<a>' + m.content }}{% endfor %}"
                 "{% if add_generation_prompt %}<a><think>{% endif %}", None, False),
    "last only": ("{{ messages[-1].content }}{{ '<a>' if add_generation_prompt }}", None, False),
    "counts": ("{% for m in messages %}{{ loop.index ~ m.content }}{% endfor %}", None, False),
    "upper": ("{% for m in messages %}{{ m.content | upper }}{% endfor %}", None, False),
    "raises": ("{{ raise_exception('\x1b[31mnever\\n') }}", None, False),
    "unknown statement": ("{% filter upper %}{% endfilter %}", None, False),
    "includes": ("{% include 'other' %}", None, False),
    "while": ("{% while true %}{% endwhile %}", None, False),
    "unknown call": ("{% for m in messages %}{{ m.content + system_call() }}{% endfor %}", None, False),
    "no end": ("{% for m in messages %}{{ m.content }}", None, False),
    "endless": ("{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}", None, False),
    "large": ("{% set ns = namespace(x='ab') %}{% for a in range(60) %}{% set ns.x = ns.x + ns.x %}{% endfor %}", None, False),
    "deep": ("{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}", None, False),
    "empty": ("", None, False),
}
# Expressions and white space, whose rendering alone counts.
PIECES = [
    "{{ 1 + 2 * 3 - -4 }}|{{ 7 // 2 }}|{{ -7 // 2 }}|{{ -7 % 3 }}|{{ 'a' ~ 1 ~ none ~ true }}", "{{ 'a' 'b' }}",
    "{{ [1, 2, 3][1:][0] }}{{ [1, 2, 3][::-1][0] }}{{ [1, 2, 3][-1] }}{{ 'abcdef'[1:-1:2] }}{{ 'abc'[5:] }}|",
    "{{ 1 < 2 < 3 }}{{ 1 < 3 < 2 }}{{ 'b' > 'a' }}{{ 1 == true }}{{ 1 in [1] }}{{ 'x' not in 'abc' }}",
    "{{ x is defined }}{{ x }}{{ x | default('d') }}{{ none is none }}{{ 'a' is string }}{{ 3 is odd }}{{ x is not defined }}",
    "{{ 'a,b,,c'.split(',') | length }}{{ 'a,b,,c'.split(',', 1)[1] }}{{ ' a '.strip() }}{{ 'xxaxx'.strip('x') }}|",
    "{{ 'a' if false }}|{{ 'a' if false else 'b' }}|{{ ('a' if true else 'b') + 'c' }}", "{{ '\\u00e9\\n\\t\\'\\x41' }}",
    "  {% if true %}\n  a\n  {% endif %}\nb\n", "a  {%- if true -%}  \n b \n {%- endif -%}  \n c", "{{ 'a' -}}  \n b {{- 'c' }}\n\n",
    "x{# comment\n #}\ny {#- z -#} w\n", "  {%+ if true %}\n a{% endif +%}\n b", "\r\na\r\n{% if true %}\r\nb{% endif %}\r\n",
    "{% for i in range(3) %}{{ loop.index }}{{ loop.last }}{{ loop.revindex0 }},{% endfor %}",
    "{% for i in [] %}a{% else %}b{% endfor %}", "{% for i in [3, 1, 2] if i > 1 %}{{ i }}{{ loop.length }}{% endfor %}",
    "{% for k, v in {'a': 1, 'b': 2}.items() %}{{ k }}{{ v }}{% endfor %}{{ {'a': 1}['a'] }}{{ {'a': 1}.get('b') }}",
    "{% set x = 1 %}{% for i in [1] %}{% set x = 2 %}{{ x }}{% endfor %}{{ x }}", "{% set x %}a{{ 1 }}{% endset %}{{ x + 'b' }}",
    "{% for i in range(9) %}{% if i == 2 %}{% continue %}{% endif %}{% if i == 5 %}{% break %}{% endif %}{{ i }}{% endfor %}",
    "{{ ['a', 'b'] | join('-') }}{{ ['a', 'b'] | first }}{{ ['a'] | last }}{{ 'aXbX'.replace('X', 'yy') }}{{ 'aB' | upper }}",
    "{{ not true or false and true }}{{ none or 'z' }}{{ '' or [] or 'q' }}{{ 'a' and 'b' }}", "{{ {'a': [1, {'b': 2}]}.a[1].b }}",
    "{% macro f(a, b=2) %}{{ a }}{{ b }}{% endmacro %}{{ f(1) }}{{ f(1, 3) }}{{ f(b=5, a=4) }}", "{{ (1, 2)[1] }}{{ ((1)) }}",
    "{%- set ns = namespace(a=1) -%}{% for i in range(3) %}{% set ns.a = ns.a + i %}{% endfor %}{{ ns.a }}",
    "{{ '{{' }}{{ '%}' }}{{ {'a': {'b': 1}}['a']['b'] }}", "{% if x %}a{% elif true %}b{% else %}c{% endif %}\n\n\nd\n\n",
]
HARD = ["Hello", " \n padded\t ", "two\n\nlines", "é漢🙂  x", "{{ 1 }}{% if %}", "<|im_end|>", "it's \"q\" & <b>", "0", "a </s>b"]
ANSWERS = ["Yes.", "a\nb", "é", "{% x %}"]


def render(template, messages, generation=True):
    """jinja2's text, None where it raises."""
    import jinja2
    from jinja2.ext import loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment
    env = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])

    def raise_exception(message):
        raise jinja2.exceptions.TemplateError(message)
    env.globals["raise_exception"] = raise_exception
    try:
        return env.from_string(template).render(messages=messages, add_generation_prompt=generation, bos_token="<s>",
                                                eos_token="</s>")
    except (jinja2.exceptions.TemplateError, TypeError):
        return None


def conversation(texts, system=None):
    roles = itertools.cycle(["user", "assistant"])
    front = [] if system is None else [dict(role="system", content=system)]
    return front + [dict(role=r, content=t) for r, t in zip(roles, texts)]


def conversations():
    for system in (None, "Be good.", " \n S "):
        for k, text in enumerate(HARD):
            yield conversation([text], system)
            yield conversation([text, ANSWERS[k % 4], HARD[(k + 3) % len(HARD)], ANSWERS[(k + 1) % 4], text], system)
        yield conversation(["one", "two"], system)


def cases(extra=()):
    out = []
    for template in [t for t, _, _ in TEMPLATES.values()] + PIECES + list(extra):
        for k, messages in enumerate(conversations()):
            if template in PIECES and k:
                break
            out.append(dict(template=template, bos="<s>", eos="</s>", generation=messages[-1]["role"] == "user",
                            messages=messages))
    return out


def form(lathe, work, template):
    """What `lathe inspect` says of a template: (name or None, {text's name: (text, trimmed ends)})."""
    g = gguf_model(hidden=32, inter=32, layers=1, heads=1, kv_heads=1, context=8)
    tokens = bpe_vocabulary()[0]
    tokens[:3] = ["<|im_end|>", "<s>", "</s>"]
    g.set("tokenizer.ggml.tokens", ["array", "str"], tokens)
    g.set("tokenizer.ggml.bos_token_id", "u32", 1)
    g.set("tokenizer.ggml.eos_token_id", "u32", 2)
    g.set("tokenizer.chat_template", "str", template)
    path = os.path.join(work, "chat.gguf")
    with open(path, "wb") as f:
        f.write(g.bytes())
    lines = subprocess.run([lathe, "inspect", path], check=True, stdout=subprocess.PIPE).stdout.decode().split("\n")
    at = next(i for i, line in enumerate(lines) if line.startswith("chat "))
    if lines[at].startswith("chat none: "):
        return None, lines[at]
    texts = {}
    for line in itertools.takewhile(lambda x: x.startswith("  "), lines[at + 1:]):
        if '"' in line:
            name, _, rest = line.strip().partition('"')
            text, end = json.JSONDecoder().raw_decode('"' + rest)
            texts[name.strip()] = (text, (" left" in rest[end - 1:] or " trimmed" in rest[end - 1:] and " right" not in
                                          rest[end - 1:], " right" in rest[end - 1:] or ", trimmed" in rest[end - 1:]))
    return lines[at][5:lines[at].index(", answers")], texts


def trimmed(text, ends):
    text = text.lstrip() if ends[0] else text
    return text.rstrip() if ends[1] else text


def formed(texts, messages, lead):
    out, at = texts["open"][0], 0
    system = messages[0]["role"] == "system"
    if system:
        out = texts["system"][0] + trimmed(messages[0]["content"], texts["behind system"][1]) + texts["behind system"][0]
        at = 1
    reply, ends = texts["reply"]
    for i in range(at, len(messages), 2):
        own = texts["first reply"][1] if system and i == at and "first reply" in texts else ends
        out += (texts["next"][0] if i > at else "") + trimmed(messages[i]["content"], own) + reply
        if i + 1 < len(messages):
            out += lead + messages[i + 1]["content"]
    return out


def turns(messages):
    """Cases of tokenizer_driver.c: a turn each, and the text behind the last answer."""
    system = messages[0]["content"].encode() if messages[0]["role"] == "system" else None
    texts = [m["content"].encode() for m in messages if m["role"] == "user"]
    front = [(8 | 16 | (32 if system is not None else 0), (system + b"\0" if system is not None else b"") + texts[0])]
    return front + [(8, t) for t in texts[1:]]


def check_turns(lathe, work, name, model, template, control):
    """Turns of an emitted tokenizer have the ids of jinja2's whole text, in which it recognises special tokens."""
    path = os.path.join(work, "turns.gguf")
    model.set("tokenizer.chat_template", "str", template)
    with open(path, "wb") as f:
        f.write(model.bytes())
    driver, wrong, n = build(lathe, path, work), 0, 0
    chats = [c for c in conversations() if c[-1]["role"] == "user"]
    for messages in chats:
        special = [control in m["content"] for m in messages if m["role"] == "user"]
        whole = render(template, messages)
        got = encode(driver, [(1, whole.encode()), *turns(messages)])
        (want, _), ids = got[0], [r[0] for r in got[1:]]
        if any(special):
            # what looks like a control token is text: the ids are others
            wrong += sum(s and want[-len(i):] == i for s, i in zip(special[-1:], ids[-1:]))
            continue
        # a later turn begins with white space where answers end with it
        last = ids[-1] if len(ids) == 1 or template.startswith("{% for") else ids[-1][1:]
        n += 1
        if want[:len(ids[0])] != ids[0] or want[-len(last):] != last:
            wrong += 1
            print(f"{name}: {whole!r}: {ids}, wanted {want}")
    print(f"{name}: turns of {n - wrong} of {n} conversations")
    return wrong + (n < 10)


def check_form(lathe, work, name, template, wanted, system):
    """Number of conversations that the form gives other texts than jinja2."""
    found, texts = form(lathe, work, template)
    if found != wanted or (found and ("system" in texts) != system):
        print(f"{name}: {found}, wanted {wanted} {'with' if system else 'without'} a system text: {texts}")
        return 1
    print(f"{name}: {found or texts}")
    wrong = 0
    for messages in conversations() if found else []:
        if messages[-1]["role"] != "user" or (messages[0]["role"] == "system" and not system):
            continue
        want = render(template, messages)
        # an earlier answer may follow a space that a new one begins with itself
        if want not in [formed(texts, messages, lead) for lead in ("", " ")]:
            wrong += 1
            if wrong < 3:
                print(f"  {formed(texts, messages, '')!r}\n  jinja2 {want!r}")
    return wrong


def check_renderings(fuzz, work, extra):
    """Number of cases that Lathe renders otherwise than jinja2: refusing is right only where jinja2 raises, or where
    the test says so."""
    refused = {t for t, form_name, _ in TEMPLATES.values() if form_name is None}
    path, wrong, agreed = os.path.join(work, "cases.json"), 0, 0
    listed = cases(extra)
    with open(path, "w", encoding="utf-8") as f:
        json.dump(listed, f)
    out = subprocess.run([fuzz, "render", path], check=True, stdout=subprocess.PIPE).stdout.decode().splitlines()
    for case, line in zip(listed, out, strict=True):
        got = json.loads(line)
        want = None if case["template"] in refused else render(case["template"], case["messages"], case["generation"])
        if case["template"] in refused and "why" not in got:
            want = render(case["template"], case["messages"], case["generation"])
        if got.get("text") != want and not (case["template"] in extra and "why" in got):
            wrong += 1
            if wrong < 6:
                print(f"{case['template'][:70]!r}\n  {got}\n  jinja2 {want!r}")
        agreed += got.get("text") == want
    print(f"{agreed} of {len(listed)} renderings")
    return wrong


def main():
    if sys.argv[1] == "cases":
        with open(os.path.join(sys.argv[2], "cases.json"), "w", encoding="utf-8") as f:
            json.dump(cases(), f)
        return
    lathe, fuzz, work = map(os.path.abspath, sys.argv[2:5])
    extra = []
    for path in sys.argv[5:]:
        with open(path, encoding="utf-8") as f:
            extra.append(f.read())
    wrong = check_renderings(fuzz, work, extra)
    for name, (template, wanted, system) in TEMPLATES.items():
        wrong += check_form(lathe, work, name, template, wanted, system)
    model = gguf_model(hidden=32, inter=32, layers=1, heads=1, kv_heads=1, context=8)
    wrong += check_turns(lathe, work, "byte-level", model, TEMPLATES["chatml"][0], "<|im_end|>")
    if os.path.exists(os.path.join(os.environ.get("LATHE_SHARED", ""), "data", "tok512.bin")):
        wrong += check_turns(lathe, work, "SentencePiece", tokenizer_gguf.parsed(), TEMPLATES["llama2"][0], "</s>")
    else:
        print("left out: SentencePiece (no tok512.bin in LATHE_SHARED)")
    for path, template in zip(sys.argv[5:], extra):
        found, texts = form(lathe, work, template)
        wrong += check_form(lathe, work, os.path.basename(path), template, found, "system" in texts)
    sys.exit(wrong > 0)


if __name__ == "__main__":
    main()
