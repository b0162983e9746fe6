#!/usr/bin/env bash
# Bad command lines and bad machines: exact messages, and nothing left behind. Usage: compile_reject.sh BUILD
set -u
cd "$(dirname "$0")" || exit 2
exec python3 -B compile_cases.py "$1/lathe" ${LATHE_UPDATE:+--update}
