# What the READMEs show is true: their sources are compiled, their commands typed, and what
# those print is compared with what the page says they print (see page.sh).
. tests/shell.sh
. tests/page.sh

for page in README.md plugins/README.md CONTRIBUTING.md; do
	begin_page
	parts "$page"
	if [ -f "$work/page.conf" ]; then
		expect "$page: parloop takes the plugins.conf shown" \
			env PARLOOP_CONF="$work/page.conf" "$O/parloop" backends
	fi
	type_page "$page"
	# What was dropped there is a backend like any other.
	for plugin in "$work"/plugins/*.so; do
		[ -f "$plugin" ] || continue
		name=${plugin##*/} name=${name%.so}
		expect "$page: $name does what every backend must" \
			env CK_RUN_CASE="$name" "$O/tests/conformance"
		expect "$page: $name keeps every rule" "$O/parloop" check "$plugin"
	done
done
summary
