# The bit contract on SmolLM2 with each kind of activations.
LATHE_LONG=1 . tests/exec/contract.sh
