#!/usr/bin/env bash
# No transform stands alone in the emitted C. Usage: fused.sh BUILD
set -u
exec python3 -B tests/emit/fused.py "$1/lathe"
