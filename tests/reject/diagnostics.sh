#!/usr/bin/env bash
# Diagnostics as text, JSON and SARIF. Usage: diagnostics.sh BUILD
set -u
cd "$(dirname "$0")" || exit 2
exec python3 -B diagnostics.py "$1/lathe"
