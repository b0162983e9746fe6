#!/usr/bin/env bash
# Chat templates against the package jinja2. Usage: chat_templates.sh BUILD
set -u
python3 -c 'import jinja2' 2>/dev/null || { echo "skipped: no Python package jinja2"; exit 77; }
work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT
python3 -B tests/exec/chat_templates.py test "$1/lathe" "$1/fuzz/chat_fuzz" "$work"
