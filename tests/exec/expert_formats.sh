#!/usr/bin/env bash
# Experts of one layer in formats of their own, in batches of any size. Usage: expert_formats.sh BUILD
set -u
exec python3 -B tests/exec/expert_formats.py "$1/lathe"
