# arc_caches.sh with every format of cache on heads of 8 to 256 columns. Usage: long_arc_caches.sh BUILD
LATHE_LONG=1 . tests/exec/arc_caches.sh
