#!/usr/bin/env bash
# Recipes, settings and texts that make no plan: exact messages. Usage: recipe_reject.sh BUILD
set -u
cd "$(dirname "$0")" || exit 2
exec python3 -B recipe_cases.py "$1/lathe" ${LATHE_UPDATE:+--update}
