#!/usr/bin/env bash
# Checkpoints that other tools rotate, imported, against the models that they were made from. Usage: dialects.sh BUILD
set -u
exec python3 -B tests/exec/dialects.py "$1/lathe"
