"""Prints templates/unicode.def, or compares it with this Python's character database.

    unicode_table.py print > templates/unicode.def     (needs a database of version 15.1.0: Python
                                                         3.13, or unicodedata2==15.1.0 from PyPI)
    unicode_table.py compare templates/unicode.def
"""

import re
import sys

try:
    import unicodedata2 as unicodedata
except ImportError:
    import unicodedata

VERSION = (15, 1, 0)
# The property White_Space, which unicodedata does not hold. str.isspace adds U+001C..U+001F.
WHITE_SPACE = {c for c in range(0x110000) if chr(c).isspace()} - set(range(0x1C, 0x20))
NAMES = {"L": "LETTER", "N": "NUMBER", "P": "PUNCTUATION", "S": "SYMBOL", "M": "MARK"}
HEAD = """\
/*
 * UNICODE_RANGE(first, last, class): the code points that pre-tokenizers tell apart, ascending; the
 * rest is OTHER. Unicode %s: LETTER, NUMBER, PUNCTUATION, SYMBOL and MARK are the general categories
 * L, N, P, S and M, SPACE is the property White_Space. Written by tests/emit/unicode_table.py.
 */
"""


def char_class(c):
    if c in WHITE_SPACE:
        return "SPACE"
    return NAMES.get(unicodedata.category(chr(c))[0], "OTHER")


def ranges():
    first = 0
    for c in range(1, 0x110001):
        if c == 0x110000 or char_class(c) != char_class(first):
            if char_class(first) != "OTHER":
                yield first, c - 1, char_class(first)
            first = c


def table_text():
    rows = ["UNICODE_RANGE(0x%06X, 0x%06X, %s)\n" % r for r in ranges()]
    return HEAD % ".".join(map(str, VERSION)) + "".join(rows) + "#undef UNICODE_RANGE\n"


def compare(path):
    text = open(path).read()
    version = tuple(map(int, unicodedata.unidata_version.split(".")))
    if version == VERSION and text != table_text():
        return "%s is not what unicode_table.py prints" % path
    table = ["OTHER"] * 0x110000
    last_end = -1
    for first, last, name in re.findall(r"UNICODE_RANGE\(0x(\w+), 0x(\w+), (\w+)\)", text):
        first, last = int(first, 16), int(last, 16)
        if not last_end < first <= last:
            return "ranges are not ascending at U+%04X" % first
        last_end = last
        table[first:last + 1] = [name] * (last - first + 1)
    compared = 0
    for c in range(0x110000):
        # An older database leaves newer code points unassigned, a newer one assigns more.
        assigned = unicodedata.category(chr(c)) != "Cn"
        known = assigned if version <= VERSION else table[c] != "OTHER"
        compared += known
        if known and table[c] != char_class(c):
            return "U+%04X is %s here and %s in the table" % (c, char_class(c), table[c])
    if compared < 130000:
        return "only %d code points were compared" % compared
    print("%d code points agree with Unicode %s" % (compared, unicodedata.unidata_version))
    return None


if __name__ == "__main__":
    if sys.argv[1] == "print":
        if unicodedata.unidata_version != ".".join(map(str, VERSION)):
            sys.exit("this Python has Unicode " + unicodedata.unidata_version)
        sys.stdout.write(table_text())
    else:
        sys.exit(compare(sys.argv[2]))
