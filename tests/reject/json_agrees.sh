#!/usr/bin/env bash
# Texts that are JSON to Python are JSON to Lathe, and no others. Usage: json_agrees.sh BUILD
set -u
cd "$(dirname "$0")" || exit 2
exec python3 -B json_agrees.py "$1/lathe"
