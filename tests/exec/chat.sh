#!/usr/bin/env bash
# chat of SmolLM2 beside generate. Usage: chat.sh BUILD
set -u
. tests/lib.sh
# The artefact of perplexity.sh, which is there already.
folder=$(artefact smollm2 --target x86-64-v4,x86-64-v3,c --activations 8:32 --kv f16) || exit
python3 -B tests/exec/chat.py "$folder/smollm2"
