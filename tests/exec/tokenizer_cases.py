"""Makes tokenizer_nasty.txt and tokenizer_llama2c.txt: hard texts, with other programs' ids.

    tokenizer_cases.py cases > cases.bin
    ORACLE SmolLM2-135M-Instruct.Q4_1.gguf smollm < cases.bin > smollm.bin
    ORACLE SmolLM2-135M-Instruct.Q4_1.gguf gpt-2 < cases.bin > gpt2.bin
    tokenizer_cases.py golden smollm.bin gpt2.bin > tests/exec/tokenizer_nasty.txt

ORACLE is any program that reads cases (uint32 parse_special, uint32 size, bytes) and writes, for each,
int32 n and n int32 ids of llama.cpp's llama_tokenize(vocab, text, size, ids, room, false,
parse_special), the model loaded with its key tokenizer.ggml.pre overridden by the second argument.

    ORACLE SmolLM2-135M-Instruct.Q4_1.gguf PRE < cases.bin > pre.bin
    tokenizer_cases.py digest < pre.bin

prints a row of other_rules in tokenizer_smollm2_test.c, for corpus.bin = a case of the first CORPUS_PART bytes of
wiki.test.raw too (tokenizer_cases.py corpus < wiki.test.raw).

    tokenizer_cases.py cases_llama2c > cases.bin
    ORACLE tok512.bin < cases.bin > scored.bin
    tokenizer_cases.py golden_llama2c scored.bin > tests/exec/tokenizer_llama2c.txt

Here it writes what encode() of llama2.c's run.c gives without BOS and EOS.
"""

import hashlib
import struct
import sys

CORPUS_PART = 300000

SPACES = [
    "\t", "\n", "\r\n", "\n\n", "\r", "\r\n\r\n \r\n", " \n", "\n ", "  \n  a", "\t\tif (x)\t{\n",
    "a\u00a0b", "\u3000\u3000あ", "\u2003 x", "\u0085y", " \u0085 ", "\x1c\x1d\x1e\x1f", "a\x0bb\x0c c",
    "x \u2028\u2029 y", "\u1680 \u180e z", "\u200b\u200c\u200d\ufeff w",
]
NUMBERS = [
    "0", "1234567890", " 5 12.5 100,000", "3.14159", "x1y2z3", "1st 2nd", "²", "½", "x² ½ ¼", "٣٤٥ ۱۲۳",
    "१२३", "１２３", "ⅷ Ⅻ", "㊿ ⑩", "一二三", "1½2", "5  5", "5   a", " 5", "  5", "\t5", "5\n5", "-1",
    "𝟘𝟙𝟚", "𐄇 𐅀",
]
CONTRACTIONS = [
    "it's", "I'LL", "I'll we've you're I'm he'd don't", "DON'T", "'s", "' s", "'S", "''s", "'re'",
    "x've'll", "'r", "'l", "'v", "'", "a'", "don’t", "'t't't", " 's", "5's", "'s5", "'5", "\"'s",
    "it'\nsx", "'ſ", "re've", "'rE",
]
WORLD = [
    "😀", "😀😀", "👨‍👩‍👧‍👦", "🇩🇪🇫🇷", "👍🏽", "☺️", "a😀b", "😀 😀", "✊🏿!", "🏴󠁧󠁢󠁥󠁮󠁧󠁿",
    "你好，世界。", "日本語テキスト", "한국어 텍스트", "漢字kanji漢字",
    "\u3400\u4dbf\U00020000\U0002a6df\U0002ebf0\U00031350", "ｶﾞ",
    "e\u0301", "é", "a\u0300\u0301\u0302" * 5, "नमस्ते", "ก็ได้", "\u0301x", "Z͑ͫ̓ͪ̂ͫ̽͏̴̙̤̞͉͚̯̞̠͍A̴̵̜̰͔ͫ͗͢L", "עִבְרִית", "العربية مَرْحَبًا",
    "Ελληνικά", "Русский текст", "Türkçe İıŞş", "ß ẞ ŉ ǆ", "ᏣᎳᎩ", "ʰʷˠ ªº", "\U0001D400\U0001D41A",
    "\U00010400\U0001E943", "\u00ad soft", "_a_b_", "a_b-c", "\uE000\uF8FF", "\U000F0000",
    "\uFFFE\uFFFF", "\U0010FFFF", "\u0378", "\U0001E030 \U00011F02",
]
INVALID = [
    b"\xff\xfe", b"\xc0\x80", b"\xc1\xbf", b"\xe0\x80\x80", b"\xe0\x9f\xbf", b"\xf0\x80\x80\x80",
    b"\xf0\x8f\xbf\xbf", b"\xed\xa0\x80", b"\xed\xbf\xbf", b"\xed\xa0\xbd\xed\xb8\x80", b"\xe2\x82",
    b"\xe2\x82x", b"\xe2", b"\xf0\x9f\x98", b"\xf0\x9f\x98a", b"\xf0\x9f", b"\xf0", b"\x80\x81\x82",
    b"a\x80b", b"\xc3", b"\xc3 x", b"caf\xe9 na\xefve", b"\xf8\x88\x80\x80\x80",
    b"\xfc\x84\x80\x80\x80\x80", b"\xe2\x82\xac\xe2\x82", b"\xc0\xa7s", b"it\xc0\xa7s", b"\xe0\x80\xb5",
    b"x\xc0\xa0y", b"\xc0\xa0\xc0\xa0z", b"\xf0\x80\x81\x81", b"it'\xc1\xb3", b"\x00", b"a\x00b",
    b"\x00\x00\x00", b" \x00 ", b"\x7f", b"\x04\x06\x13\x14\x16\x1d", b"a\x04b th\x06e", b"\xff the",
    b"the\xff", b"\xffthe\xff", b"1\xff2",
]
RUNS = [
    ("a", 1000), ("A", 333), ("=", 500), ("-", 257), (".", 77), ("\n", 100), ("\r\n", 60), ("\t", 65),
    ("0", 200), ("é", 200), ("あ", 99), ("😀", 50), ("'", 101), ("ab", 500), (" a", 300), ("a ", 300),
    ("1 ", 100), ("_", 129), ("th", 301), ("\u0301", 80), ("aaab", 200),
]
TEXTS = [
    "x" * 20 + " " * 20 + "\n" * 5 + "y",
    '    def f(self):\n        return {"a": [1, 2, 3]}\n\n\n',
    "#include <stdio.h>\r\n\tint main(void) { return 0; }\r\n",
    'https://example.com/a?b=c&d=%20#e <html><body class="x">&amp;</body>',
    "SELECT * FROM `t` WHERE x>=10;--", "CamelCaseAndSCREAMING_SNAKE and ALLCAPS",
    "Thequickbrownfox pneumonoultramicroscopicsilicovolcanoconiosis antidisestablishmentarianism",
]
SPECIALS = [
    "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n", "<|endoftext|>", "<|im_start|>",
    "a<|im_end|>b", "<|im_start|><|im_start|>", "<|im_start", "im_start|>", "<|im_end|",
    "  <|im_end|>  ", "<repo_name>x<file_sep>y", "<gh_stars> 5", "<|im_<|im_end|>",
    "<|endoftext|><|endoftext|>x", "<issue_start><issue_comment><issue_closed>",
    "<jupyter_start><jupyter_text><jupyter_code><jupyter_output><jupyter_script><empty_output>",
    "<reponame><filename>", "<|im_start|>5<|im_end|>", "<|IM_START|>", "é<|im_end|>é", "<", "<|",
    "it<|im_end|>'s", "x \n<|im_end|> y", b"\xe2\x82<|im_end|>\xac",
]


def cases():
    texts = ["", " "]
    for n in (2, 3, 4, 5, 7, 8, 9, 16, 17, 31, 64, 100, 257):
        texts += [" " * n, " " * n + "x", "x" + " " * n, "a" + " " * n + "5"]
    texts += SPACES + NUMBERS + CONTRACTIONS + WORLD
    texts += [bytes([b]) for b in range(256)] + [bytes([0x61, b, 0x62]) for b in range(256)]
    texts += [bytes([0x20, b]) for b in range(0x80, 256)] + INVALID
    texts += [c * n for c, n in RUNS] + TEXTS
    pairs = [(0, t) for t in texts] + [(p, t) for t in SPECIALS for p in (0, 1)]
    return [(p, t if isinstance(t, bytes) else t.encode()) for p, t in pairs]


def read_ids(path):
    data, at, ids = open(path, "rb").read(), 0, []
    while at < len(data):
        n = struct.unpack_from("<i", data, at)[0]
        ids.append(struct.unpack_from("<%di" % n, data, at + 4))
        at += 4 + 4 * n
    return ids


def digest(data):
    """Of all ids and how many of each case, but of those with U+2028: of llama.cpp's expressions no class but \\s has a
    space that is not ASCII, of ours and of tokenizers' those that say so."""
    at, kept = 0, hashlib.sha256()
    for _, text in cases():
        if at == len(data):
            break
        end = at + 4 + 4 * struct.unpack_from("<i", data, at)[0]
        if "\u2028".encode() not in text:
            kept.update(data[at:end])
        at = end
    return kept.hexdigest()


def print_golden(head, pairs, *lists):
    assert all(len(ids) == len(pairs) for ids in lists)
    print(head + " Made by tokenizer_cases.py.")
    for (special, text), *ids in zip(pairs, *lists):
        words = [",".join(map(str, i)) or "-" for i in ids]
        if words[0] == words[-1]:
            words = words[:1]
        print(special, text.hex() or "-", *words)


def main():
    command = sys.argv[1]
    if command == "digest":
        print(digest(sys.stdin.buffer.read()))
        return
    if command == "corpus":
        sys.stdout.buffer.write(struct.pack("<II", 0, CORPUS_PART) + sys.stdin.buffer.read(CORPUS_PART))
        return
    pairs = cases()
    if command.endswith("_llama2c"):
        # C strings; and long runs say nothing more here.
        pairs = [(0, t) for _, t in pairs if b"\0" not in t and len(t) < 300]
    if command.startswith("cases"):
        for special, text in pairs:
            sys.stdout.buffer.write(struct.pack("<II", special, len(text)) + text)
        return
    lists = [read_ids(path) for path in sys.argv[2:]]
    head = "# parse_special, text in hexadecimal, ids by "
    if command == "golden":
        head += "llama.cpp (commit 0c1e570), pre-tokenizer smollm, then\n# gpt-2 where they differ."
    else:
        head += "llama2.c (commit 350e04f), tok512.bin."
    print_golden(head, pairs, *lists)


if __name__ == "__main__":
    main()
