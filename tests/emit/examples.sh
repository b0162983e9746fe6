# examples/c links with an artefact and says the same as its runner.
. tests/lib.sh
folder=$(artefact smollm2 --target x86-64-v4,x86-64-v3,c) || exit
program=$LATHE_BUILD/example_c
examples/c/build "$folder" "$program" || exit 1
"$program" "Once upon a time" >"$program.out" || exit 1
"$folder/smollm2" generate --threads 1 --ctx 512 -n 48 "Once upon a time" >"$program.expected" || exit 1
cmp "$program.out" "$program.expected"
