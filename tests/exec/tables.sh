#!/usr/bin/env bash
# Transforms that differ from layer to layer, in one function. Usage: tables.sh BUILD
set -u
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -B tests/exec/tables.py "$1/lathe" "$work"
