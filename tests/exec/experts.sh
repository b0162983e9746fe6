#!/usr/bin/env bash
# Mixtures of experts against llama.cpp's logits, and under plans. Usage: experts.sh BUILD
set -u
exec python3 -B tests/exec/architectures.py "$1/lathe" --mixtures
