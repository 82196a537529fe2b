# What the fuzzers begin with, once; with what they found before.
. tests/shell.sh

for target in wire; do
	expect "$target survives its corpus" "$O/tests/fuzz/$target" "tests/fuzz/$target"
done
summary
