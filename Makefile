# make          build libparloop, the command and the plugins
# make run      install what is missing, build, and run a real job
# make test     install what is missing, build, and run every test
# make bench    measure ours beside its peers
# make install  PREFIX=/usr/local  DESTDIR=
#
# V=1 shows the commands.  SAN=address,undefined or SAN=thread builds with those
# sanitizers, in a folder of its own.  CC, CFLAGS and LDFLAGS are yours.

PREFIX     ?= /usr/local
BINDIR     ?= $(PREFIX)/bin
LIBDIR     ?= $(PREFIX)/lib
INCLUDEDIR ?= $(PREFIX)/include
SYSCONFDIR ?= $(if $(filter /usr,$(PREFIX)),/etc,$(PREFIX)/etc)
PLUGINDIR  ?= $(LIBDIR)/parloop

CC     ?= cc
CFLAGS ?= -O2 -g
comma  := ,

ifdef SAN
O       := build/san-$(subst $(comma),-,$(SAN))
PLUGINS := $(O)/plugins
SANFLAGS := -fsanitize=$(SAN) -fno-omit-frame-pointer -fno-sanitize-recover=all
else
O       := build
PLUGINS := plugins
endif

Q := $(if $(V),,@)
say = $(if $(V),,@printf '  %-8s %s\n' '$(1)' '$(2)';)

WARN      := -Wall -Wextra -Wpedantic -Wshadow -Wstrict-prototypes -Wmissing-prototypes \
             -Wpointer-arith -Wno-missing-field-initializers
ALL       := -std=c11 -D_GNU_SOURCE -pthread -fPIC -fvisibility=hidden -Iinclude $(WARN) $(SANFLAGS) $(CFLAGS)
CORE_LIBS := -luv -linih -ldl -lpthread -lm

CORE    := $(patsubst core/%.c,$(O)/core/%.o,$(wildcard core/*.c))
CLI     := $(patsubst core/%.c,$(O)/core/%.o,$(wildcard core/cli/*.c))
PLUGIN  := $(patsubst plugins/%.c,$(PLUGINS)/%.so,$(wildcard plugins/*.c))
TASKS   := $(patsubst tests/tasks/%.c,$(O)/tasks/%.so,$(wildcard tests/tasks/*.c))
TESTS   := $(patsubst tests/test_%.c,$(O)/tests/test_%,$(wildcard tests/test_*.c)) \
           $(patsubst %,$(O)/tests/%,$(basename $(notdir $(wildcard tests/conformance.c tests/simulation.c))))
BAD     := $(patsubst tests/plugins/%.c,$(O)/tests/plugins/%.so,$(wildcard tests/plugins/*.c))
SONAME  := libparloop.so.0

all: $(O)/libparloop.so $(O)/parloop $(PLUGIN) $(TASKS)

# Everything is rebuilt when the compiler or its flags change.
FLAGS := $(CC) $(ALL) $(LDFLAGS)
$(O)/flags: FORCE
	@mkdir -p $(@D); echo '$(FLAGS)' | cmp -s - $@ || echo '$(FLAGS)' > $@

$(O)/core/%.o: core/%.c $(O)/flags
	$(call say,CC,$<)mkdir -p $(@D) && $(CC) $(ALL) -Icore -DPAR_CHECKOUT='"$(CURDIR)"' \
	  -DPAR_PLUGINS='"$(CURDIR)/$(PLUGINS)"' -MMD -MP -c $< -o $@

$(O)/$(SONAME): $(CORE) core/parloop.map
	$(call say,LD,$@)$(CC) $(ALL) -shared -Wl,-soname,$(SONAME) -Wl,--version-script=core/parloop.map \
	  -Wl,-z,defs $(LDFLAGS) $(CORE) $(CORE_LIBS) -o $@

$(O)/libparloop.so: $(O)/$(SONAME)
	$(Q)ln -sf $(SONAME) $@

$(O)/libparloop.a: $(CORE)
	$(call say,AR,$@)rm -f $@ && ar rcs $@ $(CORE)

$(O)/parloop: $(CLI) $(O)/libparloop.so
	$(call say,LD,$@)$(CC) $(ALL) $(CLI) -L$(O) -lparloop -Wl,-rpath,'$$ORIGIN' $(LDFLAGS) -o $@

# A plugin sees include/ and nothing else of us, and links against nothing of us.
$(PLUGINS)/%.so: plugins/%.c $(O)/flags
	$(call say,PLUGIN,$@)mkdir -p $(@D) $(O)/plugins && $(CC) $(ALL) -shared $(if $(SAN),,-Wl$(comma)-z$(comma)defs) \
	  -MMD -MP -MF $(O)/plugins/$*.d $< $(LDFLAGS) -o $@

$(O)/tasks/%.so: tests/tasks/%.c $(O)/flags
	$(call say,TASKS,$@)mkdir -p $(@D) && $(CC) $(ALL) -shared -MMD -MP -MF $(@:.so=.d) $< \
	  $(LDFLAGS) $(shell sed -n 's/^.*link: *//p' $<) -o $@

# Plugins for the tests of the loader: most have something wrong with them.
$(O)/tests/plugins/%.so: tests/plugins/%.c $(O)/flags
	$(call say,PLUGIN,$@)mkdir -p $(@D) && $(CC) $(ALL) -shared -MMD -MP -MF $(@:.so=.d) $< \
	  $(LDFLAGS) $(shell sed -n 's/^.*link: *//p' $<) -o $@

# Unit tests see the core's insides, and are linked with its objects.
$(O)/tests/%: tests/%.c $(O)/libparloop.a $(O)/flags
	$(call say,TEST,$@)mkdir -p $(@D) && $(CC) $(ALL) -Icore -Itests -DPAR_CHECKOUT='"$(CURDIR)"' \
	  -DPAR_BUILD='"$(CURDIR)/$(O)"' -DPAR_PLUGINS='"$(CURDIR)/$(PLUGINS)"' -MMD -MP -MF $@.d $< \
	  $(O)/libparloop.a $(LDFLAGS) $(shell sed -n 's/^.*link: *//p' $<) \
	  $(shell pkg-config --libs check) $(CORE_LIBS) -o $@

tests-build: all $(TESTS) $(BAD)

# BENCH holds its options: make bench BENCH="--only W1b --rounds 9"
bench: all
	$(Q)$(MAKE) --no-print-directory -C tests/bench

clean:
	rm -rf build plugins/*.so

FORCE:
.PHONY: all run test bench install uninstall clean tests-build FORCE
.SECONDARY:

-include $(CORE:.o=.d) $(CLI:.o=.d) $(wildcard $(O)/plugins/*.d $(O)/tasks/*.d $(O)/tests/*.d)
