# make            build libparloop, the command, the plugins and the task modules
# make run        install what is missing, build, and run a real job
# make test       install what is missing, build, and run every test
# make acceptance joblib's behaviours, a line each; ACCEPTANCE="--only B17 --backend threading"
# make storm      worker processes killed all the time: nothing may be lost
# make valgrind   the core's unit tests, under valgrind
# make fuzz       clang's fuzzer on each reader; TIME=60 seconds each, TARGET=note for one of them
# make bench      measure ours beside its peers; make bench-engines does so on Dask and Ray
# make install    PREFIX=/usr/local DESTDIR=; make uninstall takes it away again
#
# V=1 shows the commands.  SAN=address,undefined or SAN=thread builds with those
# sanitizers, in a folder of its own.  CC, CFLAGS and LDFLAGS are yours.

PREFIX     ?= /usr/local
BINDIR     ?= $(PREFIX)/bin
LIBDIR     ?= $(PREFIX)/lib
INCLUDEDIR ?= $(PREFIX)/include
SYSCONFDIR ?= $(if $(filter /usr,$(PREFIX)),/etc,$(PREFIX)/etc)
PLUGINDIR  ?= $(LIBDIR)/parloop
MANDIR     ?= $(PREFIX)/share/man
DOCDIR     ?= $(PREFIX)/share/doc/parloop
COMPLETIONDIR ?= $(PREFIX)/share/bash-completion/completions

CC     ?= cc
CFLAGS ?= -O2 -g
comma  := ,

ifdef SAN
O        := build/san-$(subst $(comma),-,$(SAN))
PLUGINS  := $(O)/plugins
SANFLAGS := -fsanitize=$(SAN) -fno-omit-frame-pointer -fno-sanitize-recover=all
LIMIT    ?= 900
else
O        := build
PLUGINS  := plugins
LIMIT    ?= 300
endif

Q := $(if $(V),,@)
say = $(if $(V),,@printf '  %-8s %s\n' '$(1)' '$(2)';)

WARN      := -Wall -Wextra -Wpedantic -Wshadow -Wstrict-prototypes -Wmissing-prototypes \
             -Wpointer-arith -Wno-missing-field-initializers
ALL       := -std=c11 -D_GNU_SOURCE -fno-math-errno -pthread -fPIC -fvisibility=hidden -Iinclude $(WARN) $(SANFLAGS) $(CFLAGS)
# A library that nobody else sees is brought along where that is possible: to find one more takes
# the loader 40 us.
static_if_there = $(if $(filter /%,$(shell $(CC) -print-file-name=$(1))),-l:$(1),$(2))
INIH      := $(call static_if_there,libinih.a,-linih)
MD        := $(call static_if_there,libmd.a,-lmd)
CORE_LIBS := -Wl,--as-needed -luv $(INIH) $(MD) -ldl -lpthread
HERE      := -DPAR_CHECKOUT='"$(CURDIR)"' -DPAR_PLUGINS='"$(CURDIR)/$(PLUGINS)"' \
             -DPAR_BUILD='"$(CURDIR)/$(O)"'

CORE    := $(patsubst core/%.c,$(O)/core/%.o,$(wildcard core/*.c))
CLI     := $(patsubst core/%.c,$(O)/core/%.o,$(wildcard core/cli/*.c core/check/*.c))
WORKER  := $(patsubst core/%.c,$(O)/core/%.o,$(wildcard core/worker/*.c))
FOLDERS := $(patsubst plugins/%/,%,$(dir $(wildcard plugins/*/backend.c)))
PLUGIN  := $(patsubst plugins/%.c,$(PLUGINS)/%.so,$(wildcard plugins/*.c)) $(FOLDERS:%=$(PLUGINS)/%.so)
PYTHON  := $(wildcard plugins/engines/*.py)
# Those of `parloop check`, which finds them beside the library.
CHECKED := parloop-check/tasks.so
TASKS   := $(patsubst tests/tasks/%.c,$(O)/tasks/%.so,$(wildcard tests/tasks/*.c))
UNIT    := $(patsubst tests/%.c,$(O)/tests/%,$(wildcard tests/test_*.c))
LIST    := $(O)/tests/acceptance/acceptance
TESTS   := $(UNIT) $(patsubst tests/%.c,$(O)/tests/%,$(wildcard tests/conformance.c tests/simulation.c)) $(LIST)
STORM   := $(O)/tests/storm
BAD     := $(patsubst tests/plugins/%.c,$(O)/tests/plugins/%.so,$(wildcard tests/plugins/*.c))
FUZZ    := $(patsubst tests/fuzz/%.c,$(O)/tests/fuzz/%,$(wildcard tests/fuzz/*.c))
LIBS    := $(patsubst tests/libs/%.c,$(O)/tests/libs/%.so,$(wildcard tests/libs/*.c))
SONAME  := libparloop.so.1

# A relay for each MPI that there is, built by its compiler; with a sanitizer none, since an MPI
# under one says much of itself and nothing of us.
MPIS    := $(if $(SAN),,$(foreach mpi,openmpi mpich,$(if $(shell command -v mpicc.$(mpi)),$(mpi))))
RELAY   := $(MPIS:%=$(O)/parloop-mpi-relay.%)

all: $(O)/libparloop.so $(if $(CLI),$(O)/parloop) $(O)/parloop-worker $(O)/$(CHECKED) $(PLUGIN) $(RELAY) $(TASKS) \
  $(O)/parloop.pc $(if $(SAN),$(PYTHON:plugins/%=$(PLUGINS)/%))

# A source says what else it is linked with: /* link: -lz */
link_flags = $(shell sed -n 's|^[ /]*[*] link: *\([^*]*\).*|\1|p' $(1))

# Everything is rebuilt when the compiler or its flags change; the first time, and then, what it
# takes is looked for.  What `sudo make install` leaves lies in a folder of who builds, who can
# then clean up.
FLAGS := $(CC) $(ALL) $(LDFLAGS)
$(O)/flags: FORCE
	@mkdir -p $(@D)/installed; echo '$(FLAGS)' | cmp -s - $@ || { .ci/deps --look build && echo '$(FLAGS)' > $@; }

$(O)/core/%.o: core/%.c $(O)/flags
	$(call say,CC,$<)mkdir -p $(@D) && $(CC) $(ALL) -Icore $(PATHS) -MMD -MP -c $< -o $@

# Only one module knows where this checkout lies; `make install` builds it anew.
PATHS :=
$(O)/core/paths.o: PATHS := $(HERE)

# The programs see what everybody sees.
$(CLI) $(WORKER): $(O)/core/%.o: core/%.c $(O)/flags
	$(call say,CC,$<)mkdir -p $(@D) && $(CC) $(ALL) -MMD -MP -c $< -o $@

# What `parloop new` writes lies in the program.
$(O)/core/cli/new_files.o: $(wildcard core/cli/new/*)

LINK_CORE = $(CC) $(ALL) -shared -static-libgcc -Wl,-soname,$(SONAME) -Wl,--version-script=core/parloop.map \
            -Wl,-z,defs $(LDFLAGS) $(filter %.o,$^) $(CORE_LIBS) -o $@

$(O)/$(SONAME): $(CORE) core/parloop.map
	$(call say,LD,$@)$(LINK_CORE)

$(O)/libparloop.so: $(O)/$(SONAME)
	$(Q)ln -sf $(SONAME) $@

$(O)/libparloop.a: $(CORE)
	$(call say,AR,$@)rm -f $@ && ar rcs $@ $(CORE)

# What a sanitizer is told of each program of ours.
TOLD := $(if $(SAN),$(O)/tests/sanitizers.o)

$(O)/parloop: $(CLI) $(TOLD) $(O)/libparloop.so
	$(call say,LD,$@)$(CC) $(ALL) $(CLI) $(TOLD) -L$(O) -lparloop -Wl,-rpath,'$$ORIGIN' $(LDFLAGS) -o $@

# A worker is started more often than anything else, and each library that the loader has to find
# takes it a tenth of a millisecond: so it brings the core along, and shows modules what
# libparloop.so would.
LINK_WORKER = $(CC) $(ALL) $(filter %.o,$^) -static-libgcc -Wl,--dynamic-list=core/worker/exports.map \
              $(LDFLAGS) -Wl,--as-needed $(call static_if_there,libuv_a.a,-luv) \
              $(INIH) $(MD) -ldl -lpthread -o $@

$(O)/parloop-worker: $(WORKER) $(CORE) $(TOLD) core/worker/exports.map
	$(call say,LD,$@)$(LINK_WORKER)

# The other half of the backend mpi: a worker whose batches come by MPI.
RELAY_SOURCES := $(wildcard plugins/mpi/relay/*.c)
LINK_RELAY = OMPI_CC='$(CC)' MPICH_CC='$(CC)' mpicc.$* $(ALL) -DRELAY_MPI='"$*"' -MMD -MP \
             -MF $(O)/plugins/mpi-relay.$*.d $(RELAY_SOURCES) $(filter %.o,$^) -static-libgcc -Wl,--dynamic-list=core/worker/exports.map \
             $(LDFLAGS) $(CORE_LIBS) -o $@

$(RELAY): $(O)/parloop-mpi-relay.%: $(RELAY_SOURCES) $(CORE) core/worker/exports.map $(O)/flags
	$(call say,MPI,$@)$(LINK_RELAY)

# A plugin sees include/ and nothing else of us, and links against nothing of us.
$(PLUGINS)/%.so: plugins/%.c $(O)/flags
	$(call say,PLUGIN,$@)mkdir -p $(@D) $(O)/plugins && $(CC) $(ALL) -shared $(if $(SAN),,-Wl$(comma)-z$(comma)defs) \
	  -MMD -MP -MF $(O)/plugins/$*.d $< $(LDFLAGS) -o $@

# One that is a folder of sources, of which backend.c has the factory.
$(O)/plugins/%.o: plugins/%.c $(O)/flags
	$(call say,CC,$<)mkdir -p $(@D) && $(CC) $(ALL) -MMD -MP -c $< -o $@

# What a plugin has in Python lies beside it, in a folder of its name.
$(O)/plugins/engines/%.py: plugins/engines/%.py
	$(Q)mkdir -p $(@D) && cp $< $@

define folder
$(PLUGINS)/$(1).so: $(patsubst plugins/%.c,$(O)/plugins/%.o,$(wildcard plugins/$(1)/*.c))
	$$(call say,PLUGIN,$$@)mkdir -p $$(@D) && $$(CC) $$(ALL) -shared $(if $(SAN),,-Wl$(comma)-z$(comma)defs) $$^ $$(LDFLAGS) -o $$@
endef
$(foreach name,$(FOLDERS),$(eval $(call folder,$(name))))

$(O)/tasks/%.so: tests/tasks/%.c $(O)/flags
	$(call say,TASKS,$@)mkdir -p $(@D) && $(CC) $(ALL) -shared -MMD -MP -MF $(@:.so=.d) $< \
	  $(LDFLAGS) $(call link_flags,$<) -o $@

$(O)/$(CHECKED): core/check/tasks/tasks.c $(O)/flags
	$(call say,TASKS,$@)mkdir -p $(@D) && $(CC) $(ALL) -shared -MMD -MP -MF $(@:.so=.d) $< $(LDFLAGS) -o $@

# Plugins for the tests of the loader: most have something wrong with them.
$(O)/tests/plugins/%.so: tests/plugins/%.c $(O)/flags
	$(call say,PLUGIN,$@)mkdir -p $(@D) && $(CC) $(ALL) -shared -MMD -MP -MF $(@:.so=.d) $< \
	  $(LDFLAGS) $(call link_flags,$<) -o $@

# Libraries that call par_map and the like, which whoever loads them provides.
$(O)/tests/libs/%.so: tests/libs/%.c $(O)/flags
	$(call say,LIB,$@)mkdir -p $(@D) && $(CC) $(ALL) -shared -MMD -MP -MF $(@:.so=.d) $< \
	  $(LDFLAGS) $(call link_flags,$<) -o $@

# Unit tests see the core's insides, and are linked with its objects; and every test with what
# stands around it.
AROUND := $(O)/tests/around.o $(O)/tests/sanitizers.o
$(AROUND): $(O)/tests/%.o: tests/%.c $(O)/flags
	$(Q)mkdir -p $(@D) && $(CC) $(ALL) -MMD -MP -c $< -o $@

$(O)/tests/%: tests/%.c $(AROUND) $(O)/libparloop.a $(O)/flags
	$(call say,TEST,$@)mkdir -p $(@D) && $(CC) $(ALL) -Icore -Itests $(HERE) -MMD -MP -MF $@.d $< \
	  -Wl,--wrap=tcase_create $(AROUND) $(O)/libparloop.a $(LDFLAGS) $(call link_flags,$<) \
	  $(shell pkg-config --libs check) $(CORE_LIBS) -o $@

# The list of behaviours is linked as a program of a user's, and sees what that sees.
$(O)/tests/acceptance/%.o: tests/acceptance/%.c $(O)/flags
	$(call say,CC,$<)mkdir -p $(@D) && $(CC) $(ALL) -Itests $(HERE) -MMD -MP -c $< -o $@

$(LIST): $(patsubst tests/%.c,$(O)/tests/%.o,$(wildcard tests/acceptance/*.c)) $(O)/tests/sanitizers.o $(O)/libparloop.so
	$(call say,TEST,$@)$(CC) $(ALL) $(filter %.o,$^) -L$(O) -lparloop -Wl,-rpath,'$$ORIGIN/../..' \
	  $(LDFLAGS) $(shell pkg-config --libs check) -luv -lm -o $@

# --- to go -----------------------------------------------------------------------------------
# What is missing is installed before anything is compiled, so these make again.

run:
	$(Q).ci/deps build
	$(Q)$(MAKE) --no-print-directory all
	$(Q)O=$(O) sh tests/run-headers.sh

tests-build: all $(TESTS) $(STORM) $(BAD) $(LIBS) $(FUZZ)

export ASAN_OPTIONS  ?= detect_leaks=1:strict_string_checks=1:allocator_may_return_null=1
export UBSAN_OPTIONS ?= print_stacktrace=1:halt_on_error=1
export TSAN_OPTIONS  ?= halt_on_error=1:second_deadlock_stack=1:allocator_may_return_null=1
export CK_DEFAULT_TIMEOUT ?= $(if $(SAN),120,30)
run-tests = O=$(O) PLUGINS=$(PLUGINS) SAN='$(SAN)' CC='$(CC)' SANFLAGS='$(SANFLAGS)' LIMIT=$(LIMIT) \
            sh tests/run.sh

test:
	$(Q).ci/deps test
	$(Q).ci/engines
	$(Q)$(MAKE) --no-print-directory tests-build
	$(Q)$(run-tests) $(TESTS) $(wildcard tests/test_*.sh)

acceptance:
	$(Q).ci/deps test
	$(Q)$(MAKE) --no-print-directory all $(LIST) $(LIBS)
	$(Q)$(LIST) $(ACCEPTANCE)

# A million tasks while a worker is killed each millisecond, with and without poisonous tasks.
storm:
	$(Q).ci/deps test
	$(Q)$(MAKE) --no-print-directory all $(STORM)
	$(Q)O=$(O) KILL_MS=1 TASKS=1000000 sh tests/test_storm.sh

# All but the test of the command, whose work is done in other processes, and those of worker
# processes, which it cannot start: it knows no pidfd.  Valgrind runs one thread
# at a time; one that looks out for another is to hand over to it.
IN_PROCESSES := command changed processes engines mpi inner_threads nesting pairs core_budget
MEMCHECK := valgrind -q --fair-sched=yes --error-exitcode=99 --leak-check=full --errors-for-leak-kinds=definite
valgrind: LIMIT := 900
valgrind:
	$(Q).ci/deps test valgrind
	$(Q)$(MAKE) --no-print-directory tests-build
	$(Q)UNDER_VALGRIND=1 CK_DEFAULT_TIMEOUT=30 CK_TIMEOUT_MULTIPLIER=10 WRAP='$(MEMCHECK)' \
	  $(run-tests) $(filter-out $(IN_PROCESSES:%=$(O)/tests/test_%),$(UNIT))

# What they find that ends in a crash, hangs or takes much memory is written to build/fuzz, and what
# is new to them to build/fuzz/TARGET.  SAN is told to make, so that its folder is its own.
TIME   ?= 60
TARGET ?= $(patsubst tests/fuzz/%.c,%,$(wildcard tests/fuzz/*.c))
FUZZER := $(TARGET:%=$(O)/fuzz/%)
$(O)/fuzz/%: tests/fuzz/%.c $(O)/libparloop.a $(O)/tests/plugins/good.so
	$(call say,FUZZ,$@)mkdir -p $(@D) && $(CC) $(ALL) -fsanitize=fuzzer -DFUZZER -Icore -Itests $(HERE) \
	  $(filter-out %.so,$^) $(LDFLAGS) $(CORE_LIBS) -o $@

fuzz-here: $(FUZZER)
	$(Q)for target in $(TARGET); do \
	  echo "--- $$target, for $(TIME) s"; mkdir -p build/fuzz/$$target; \
	  $(O)/fuzz/$$target -max_total_time=$(TIME) -timeout=10 -rss_limit_mb=1024 -verbosity=0 -print_final_stats=1 \
	    -artifact_prefix=build/fuzz/$$target- build/fuzz/$$target tests/fuzz/$$target || exit; done

fuzz:
	$(Q).ci/deps test fuzz
	$(Q)$(MAKE) --no-print-directory CC=clang SAN=address,undefined,fuzzer-no-link fuzz-here

# BENCH holds its options: make bench BENCH="--only W1b --rounds 9"
bench:
	$(Q).ci/deps bench
	$(Q)$(MAKE) --no-print-directory all
	$(Q)$(MAKE) --no-print-directory -C tests/bench

# The same on clusters of this machine: Dask's, and Ray's.
$(O)/bench-engines: tests/bench/engines/ours.c $(O)/libparloop.so
	$(call say,CC,$<)$(CC) $(ALL) $< -L$(O) -lparloop -Wl,-rpath,'$$ORIGIN' $(LDFLAGS) -o $@

bench-engines:
	$(Q).ci/deps test
	$(Q).ci/engines
	$(Q)$(MAKE) --no-print-directory all $(O)/bench-engines
	$(Q)O=$(O) PLUGINS=$(PLUGINS) sh tests/bench/engines/run.sh

# --- to stay ---------------------------------------------------------------------------------

I  := $(O)/installed
VERSION = $(shell sed -n 's/.*PAR_VERSION_STRING "\(.*\)"/\1/p' include/parloop/parloop.h)

$(I)/places: FORCE
	@mkdir -p $(@D); echo '$(PREFIX) $(BINDIR) $(LIBDIR) $(INCLUDEDIR) $(SYSCONFDIR) $(PLUGINDIR)' > $@.new
	@cmp -s $@.new $@ && rm $@.new || mv $@.new $@

$(I)/paths.o: core/paths.c $(I)/places $(O)/flags
	$(Q)$(CC) $(ALL) -Icore -DPAR_SYSCONFDIR='"$(SYSCONFDIR)"' -DPAR_PLUGINDIR='"$(PLUGINDIR)"' \
	  -DPAR_BINDIR='"$(BINDIR)"' -MMD -MP -c $< -o $@

$(I)/$(SONAME): $(filter-out $(O)/core/paths.o,$(CORE)) $(I)/paths.o core/parloop.map
	$(call say,LD,$@)$(LINK_CORE)

$(I)/parloop-worker: $(WORKER) $(filter-out $(O)/core/paths.o,$(CORE)) $(I)/paths.o core/worker/exports.map
	$(call say,LD,$@)$(LINK_WORKER)

$(I)/parloop: $(CLI) $(I)/$(SONAME)
	$(call say,LD,$@)$(CC) $(ALL) $^ $(if $(filter /usr,$(PREFIX)),,-Wl$(comma)-rpath$(comma)$(LIBDIR)) \
	  $(LDFLAGS) -o $@

say_where = sed -e 's|@PREFIX@|$(1)|; s|@LIBDIR@|$(2)|; s|@INCLUDEDIR@|$(3)|; s|@PLUGINDIR@|$(4)|' \
            -e 's|@VERSION@|$(VERSION)|' $< > $@

$(I)/parloop.pc: core/parloop.pc.in $(I)/places include/parloop/parloop.h
	$(Q)$(call say_where,$(PREFIX),$(LIBDIR),$(INCLUDEDIR),$(PLUGINDIR))

# Who builds against this checkout names its folder in PKG_CONFIG_PATH.
$(O)/parloop.pc: core/parloop.pc.in Makefile include/parloop/parloop.h $(O)/flags
	$(Q)$(call say_where,$(CURDIR),$(CURDIR)/$(O),$(CURDIR)/include,$(CURDIR)/$(PLUGINS))

# Programs find the library in a folder that the loader searches once the loader's cache is new.
LDCONFIG := PATH=$$PATH:/usr/sbin:/sbin ldconfig
refresh = test -n '$(DESTDIR)' || ! $(LDCONFIG) -v -N -X 2>/dev/null | grep -q '^$(LIBDIR):' || \
          $(LDCONFIG) || echo 'ldconfig, typed by root, tells the loader of $(LIBDIR)'

MAN := $(wildcard core/*.[1-9] core/*/*.[1-9] include/parloop/*.[1-9] plugins/*.[1-9])
man_place = $(MANDIR)/man$(subst .,,$(suffix $(1)))/$(notdir $(1))

D := $(DESTDIR)
install: $(I)/$(SONAME) $(I)/parloop $(I)/parloop-worker $(I)/parloop.pc $(O)/$(CHECKED) $(PLUGIN) $(RELAY)
	$(Q)install -d $D$(BINDIR) $D$(LIBDIR)/pkgconfig $D$(INCLUDEDIR)/parloop $D$(PLUGINDIR) $D$(SYSCONFDIR)/parloop
	$(Q)install $(I)/parloop $(I)/parloop-worker $D$(BINDIR)
	$(Q)install -m 644 $(I)/$(SONAME) $D$(LIBDIR)
	$(Q)ln -sf $(SONAME) $D$(LIBDIR)/libparloop.so
	$(Q)install -D -m 644 $(O)/$(CHECKED) $D$(LIBDIR)/$(CHECKED)
	$(Q)install -m 644 $(I)/parloop.pc $D$(LIBDIR)/pkgconfig
	$(Q)install -m 644 include/parloop/*.h $D$(INCLUDEDIR)/parloop
	$(Q)install -m 644 $(PLUGIN) $D$(PLUGINDIR)
	$(Q)install -d $D$(PLUGINDIR)/engines
	$(Q)install -m 644 $(PYTHON) $D$(PLUGINDIR)/engines
	$(Q)$(if $(RELAY),install $(RELAY) $D$(PLUGINDIR))
	$(Q)$(foreach page,$(MAN),install -D -m 644 $(page) $D$(call man_place,$(page)) &&) :
	$(Q)install -D -m 644 plugins/README.md $D$(DOCDIR)/backends.md
	$(Q)install -D -m 644 core/cli/parloop.bash $D$(COMPLETIONDIR)/parloop
	$(Q)test -e $D$(SYSCONFDIR)/parloop/plugins.conf || install -m 644 plugins.conf $D$(SYSCONFDIR)/parloop
	$(Q)$(refresh)

# A plugins.conf that somebody changed stays, and so do plugins that are not ours.
uninstall:
	$(Q)rm -f $D$(BINDIR)/parloop $D$(BINDIR)/parloop-worker $D$(LIBDIR)/$(SONAME) $D$(LIBDIR)/libparloop.so $D$(LIBDIR)/$(CHECKED) $D$(LIBDIR)/pkgconfig/parloop.pc \
	  $(addprefix $D$(INCLUDEDIR)/parloop/,$(notdir $(wildcard include/parloop/*.h))) \
	  $(addprefix $D$(PLUGINDIR)/,$(notdir $(PLUGIN)) parloop-mpi-relay.openmpi parloop-mpi-relay.mpich) \
	  $(addprefix $D$(PLUGINDIR)/engines/,$(notdir $(PYTHON))) \
	  $(foreach page,$(MAN),$D$(call man_place,$(page))) $D$(COMPLETIONDIR)/parloop $D$(DOCDIR)/backends.md
	$(Q)! cmp -s plugins.conf $D$(SYSCONFDIR)/parloop/plugins.conf || rm $D$(SYSCONFDIR)/parloop/plugins.conf
	$(Q)for d in $D$(DOCDIR) $D$(PLUGINDIR)/engines $D$(PLUGINDIR) $D$(LIBDIR)/parloop-check $D$(INCLUDEDIR)/parloop $D$(SYSCONFDIR)/parloop $D$(LIBDIR)/pkgconfig; do \
	  test ! -d $$d || rmdir --ignore-fail-on-non-empty $$d; done
	$(Q)$(refresh)

clean:
	rm -rf build $(patsubst %.c,%.so,$(wildcard plugins/*.c)) $(FOLDERS:%=plugins/%.so)

FORCE:
.PHONY: all run test acceptance storm valgrind fuzz fuzz-here bench bench-engines install uninstall clean tests-build FORCE
.SECONDARY:

-include $(CORE:.o=.d) $(CLI:.o=.d) $(WORKER:.o=.d) $(wildcard $(O)/plugins/*.d $(O)/plugins/*/*.d $(O)/tasks/*.d $(O)/parloop-check/*.d $(O)/tests/*.d $(O)/tests/acceptance/*.d $(O)/tests/fuzz/*.d $(O)/tests/plugins/*.d $(O)/tests/libs/*.d $(I)/*.d)
