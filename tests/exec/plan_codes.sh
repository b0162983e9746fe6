#!/usr/bin/env bash
# Codes made from the definitions against folded weights. Usage: plan_codes.sh BUILD
set -u
exec python3 -B tests/exec/plan_codes.py "$1/lathe"
