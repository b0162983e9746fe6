# The portable C of an artefact needs no operating system: memcpy and memset only.
. tests/lib.sh
folder=$(artefact smollm2 --target c) || exit
examples/freestanding/check "$folder"
