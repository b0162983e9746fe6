#!/bin/bash
# The table of character classes against Python's character database.
exec python3 tests/emit/unicode_table.py compare templates/unicode.def
