# Tensor types of GGUF: their values, and kernels on them. Usage: gguf_types.sh BUILD
exec python3 -B tests/exec/gguf_types.py "$1/lathe"
