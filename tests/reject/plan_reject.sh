#!/usr/bin/env bash
# Bad plans: each is refused with exactly the expected message. Usage: plan_reject.sh BUILD
set -u
cd "$(dirname "$0")" || exit 2
exec python3 -B plan_cases.py "$1/lathe" ${LATHE_UPDATE:+--update}
