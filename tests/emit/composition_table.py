"""Prints templates/composition.def, or compares it with what this Python's and Perl's character databases make of it.

    composition_table.py print > templates/composition.def
    composition_table.py compare templates/composition.def

Classes and decompositions of a code point never change once it is assigned, so any database of VERSION or later gives
the same rows; Perl knows which code points were assigned in VERSION.
"""

import subprocess
import sys
import unicodedata

# That of the package `tokenizers`.
VERSION = "9.0"
HEAD = """\
/*
 * What NFC needs, of code points assigned in Unicode %s, ascending; Hangul syllables follow from arithmetic.
 * UNICODE_CLASS(first, last, class): canonical combining classes other than 0.
 * UNICODE_DECOMPOSED(code, first, second, composes): canonical decompositions, of which `first` may have one of its own.
 * second: 0 where there is none; composes: the two become `code` again. Written by tests/emit/composition_table.py.
 */
"""


def assigned():
    """The code points of VERSION; None: there is no Perl with its tables."""
    script = ("for (0..0x10FFFF) { next if $_ >= 0xD800 && $_ < 0xE000; "
              "print \"$_ \" if chr($_) =~ /\\p{Present_In: %s}/ }" % VERSION)
    try:
        out = subprocess.run(["perl", "-e", script], stdout=subprocess.PIPE, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    return [int(c) for c in out.split()]


def classes(codes):
    rows = []
    for c in codes:
        k = unicodedata.combining(chr(c))
        if k and rows and rows[-1][1:] == [c - 1, k]:
            rows[-1][1] = c
        elif k:
            rows.append([c, c, k])
    return rows


def decompositions(codes):
    for c in codes:
        parts = unicodedata.decomposition(chr(c)).split()
        if not parts or parts[0].startswith("<"):
            continue
        first, second = [int(p, 16) for p in parts] if len(parts) == 2 else (int(parts[0], 16), 0)
        assert second == 0 or not unicodedata.decomposition(chr(second))
        whole = unicodedata.normalize("NFD", chr(c))
        # What templates/tokenizer_nfc.c has room for.
        assert len(whole.encode()) <= 3 * len(chr(c).encode()) and 2 * len(whole) <= 3 * len(chr(c).encode())
        composes = second != 0 and unicodedata.normalize("NFC", chr(first) + chr(second)) == chr(c)
        yield c, first, second, composes


def table_text(codes):
    rows = ["UNICODE_CLASS(0x%06X, 0x%06X, %d)\n" % tuple(r) for r in classes(codes)]
    rows += ["UNICODE_DECOMPOSED(0x%06X, 0x%06X, 0x%06X, %d)\n" % r for r in decompositions(codes)]
    return HEAD % VERSION + "".join(rows) + "#undef UNICODE_CLASS\n#undef UNICODE_DECOMPOSED\n"


def main():
    codes = assigned()
    if codes is None:
        print("no Perl that knows when code points were assigned")
        return 77
    text = table_text(codes)
    if sys.argv[1] == "print":
        sys.stdout.write(text)
    elif open(sys.argv[2]).read() != text:
        return "%s is not what composition_table.py prints" % sys.argv[2]
    else:
        print("%d rows agree with Unicode %s" % (text.count("(0x"), unicodedata.unidata_version))
    return 0


if __name__ == "__main__":
    sys.exit(main())
