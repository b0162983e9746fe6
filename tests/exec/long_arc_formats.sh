# arc_formats.sh with the plans that mix every format. Usage: long_arc_formats.sh BUILD
LATHE_LONG=1 . tests/exec/arc_formats.sh
