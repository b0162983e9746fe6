# arc_dpas.sh with every format that goes by DPAS, and SmolLM2. Usage: long_arc_dpas.sh BUILD
LATHE_LONG=1 . tests/exec/arc_dpas.sh
