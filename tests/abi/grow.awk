# grow.awk - a header, as a later minor version might have it: each struct that may grow has grown.
# (That is those that begin with their size; see error.h.)

/^(typedef )?struct [a-z_]+ {/ {
	is_first = 1
	print
	next
}

is_first {
	may_grow = /uint32_t size;/
	is_first = 0
}

/^}/ && may_grow {
	print "\tuint64_t later;"
	may_grow = 0
}

{
	sub(/^#define PAR_ABI_MINOR .*/, "#define PAR_ABI_MINOR 9")
	print
}
