#!/usr/bin/env bash
# Bad model files: each is refused with exactly the expected message. Usage: model_reject.sh BUILD
set -u
cd "$(dirname "$0")" || exit 2
exec python3 -B model_cases.py "$1/lathe" ${LATHE_UPDATE:+--update}
