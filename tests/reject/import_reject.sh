#!/usr/bin/env bash
# What is said of rotated weights and cannot be: refused with its message. Usage: import_reject.sh BUILD
set -u
exec python3 -B tests/reject/import_cases.py "$1/lathe" ${LATHE_UPDATE:+--update}
