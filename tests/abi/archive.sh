# archive.sh MINOR - keep the headers and the description of libparloop.so as what MINOR promises:
#
#	make && sh tests/abi/archive.sh 1.1
#
# Done when a minor is released, and never again for the same one.  Sources that are to run for ever
# after are taken over from the minor before, and may be added to.
set -eu
minor=$1
before=$(cd tests/abi && ls -d [0-9]*.[0-9]* | tail -n 1)
[ "$(sed -n 's/.*PAR_VERSION_STRING "\([0-9]*\.[0-9]*\).*/\1/p' include/parloop/parloop.h)" = "$minor" ] || {
	echo "archive.sh: PAR_VERSION_STRING in parloop.h is not of $minor" >&2
	exit 1
}
mkdir -p "tests/abi/$minor/parloop"
cp include/parloop/*.h "tests/abi/$minor/parloop"
[ "$before" = "$minor" ] || cp tests/abi/"$before"/*.c tests/abi/"$before"/*.cc "tests/abi/$minor"
abidw --no-architecture --no-show-locs --no-elf-needed --no-parameter-names --no-comp-dir-path \
	--no-corpus-path --exported-interfaces-only --type-id-style hash \
	--suppressions tests/abi/abidiff.suppr --out-file "tests/abi/$minor/libparloop.abi" \
	"${O:-build}/libparloop.so"
