# arc.sh with more formats, every kind of transform, and SmolLM2. Usage: long_arc.sh BUILD
LATHE_LONG=1 . tests/exec/arc.sh
