#!/bin/bash
# The table of compositions against Python's character database.
exec python3 tests/emit/composition_table.py compare templates/composition.def
