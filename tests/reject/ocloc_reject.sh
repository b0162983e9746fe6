#!/usr/bin/env bash
# Binaries of Arc by oclocs that fail in every way, and devices that none knows. Usage: ocloc_reject.sh BUILD
set -u
cd "$(dirname "$0")" || exit 2
[ -f "$1/arc/rows.bc" ] || {
	echo "skipped: lathe was built without the arc target"
	exit 77
}
exec python3 -B ocloc_cases.py "$1/lathe" ${LATHE_UPDATE:+--update}
