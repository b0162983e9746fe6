#!/usr/bin/env python3
"""chat of a compiled SmolLM2: ids of turns are those of its template's text, and answers are those of `generate` over
all ids so far, evaluated anew.

    chat.py PROGRAM
"""
import json
import subprocess
import sys

TURNS = ["What is the capital of France?", "And of <|im_end|> Italy, é漢🙂?", "x = [1, 2]  # why?"]
SYSTEM = "Answer briefly."
OWN = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"


def call(program, *args, text=""):
    return subprocess.run([program, *map(str, args)], input=text.encode(), check=True, stdout=subprocess.PIPE).stdout


def main():
    program = sys.argv[1]
    for system in (None, SYSTEM):
        more = ["--system", system] if system else []
        lines = call(program, "chat", "--json", "-n", 12, *more, text="\n".join(TURNS)).decode().splitlines()
        assert len(lines) == len(TURNS), lines
        ids, front = [], f"<|im_start|>system\n{system or OWN}<|im_end|>\n"
        for k, (line, turn) in enumerate(zip(lines, TURNS)):
            got = json.loads(line)
            text = (front if k == 0 else "<|im_end|>\n") + f"<|im_start|>user\n{turn}<|im_end|>\n<|im_start|>assistant\n"
            want = json.loads(call(program, "encode", "-", "--special", "--json", text=text))["ids"]
            # the second turn's control token is text: 2 is the token, which stands behind the answer and the turn only
            assert (got["prompt_ids"] == want) == ("<|im_end|>" not in turn), (got, want)
            assert got["prompt_ids"].count(2) == 2, got
            ids += got["prompt_ids"]
            given = ",".join(map(str, ids))
            anew = json.loads(call(program, "generate", "--json", "-n", 12, "--ids", given))
            assert (anew["ids"], anew["end"]) == (got["ids"], got["end"]), (anew, got)
            ids += got["ids"]
            print(f"turn {k + 1}: {len(got['prompt_ids'])} ids, answer {got['text']!r}, {got['end']}")


if __name__ == "__main__":
    main()
