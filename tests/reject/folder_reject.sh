#!/usr/bin/env bash
# Bad Hugging Face folders: each is refused with exactly the expected message. Usage: folder_reject.sh BUILD
set -u
cd "$(dirname "$0")" || exit 2
exec python3 -B folder_cases.py "$1/lathe" ${LATHE_UPDATE:+--update}
