#!/usr/bin/env bash
# Hugging Face folders against GGUF files of the same models. Usage: checkpoints.sh BUILD
set -u
exec python3 -B tests/exec/checkpoints.py "$1/lathe"
