#!/usr/bin/env bash
# Small models of each architecture against llama.cpp's logits, and under plans. Usage: architectures.sh BUILD
set -u
exec python3 -B tests/exec/architectures.py "$1/lathe"
