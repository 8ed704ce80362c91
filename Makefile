# make          builds everything into $(BUILD)
# make run      installs what is missing, builds, starts the whole stack on loopback
# make demo     one readable run of the main job          make bench-smoke   speed and memory
# make bench    beside what a user would pick instead, with targets (SCENARIO="dose …" BENCH="--long …"); minutes
# make check    builds and tests (minutes)                make check-long    the rest
# make app      only the tablet app (part of make)
# make controls  writes docs/controls.md: every control and the tests that prove it
# make format format-check tidy cppcheck fuzz clean deps
# Variables: BUILD=folder  CC=gcc|clang  SAN=address,undefined|thread  DEFS=-D…  V=1
# A SAN build needs its own BUILD folder. Sources are found by folder: a new file needs no edit here.

BUILD ?= build
SAN ?=
DEFS ?=
ifeq ($(origin CC),default)
CC := gcc
endif
JOBS ?= $(shell nproc)
Q := $(if $(V),,@)

# ---- flags

WARN := -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Wstrict-prototypes -Wvla -Werror
BASE := -std=c17 -D_GNU_SOURCE -I. $(DEFS) $(WARN) -g
ifeq ($(SAN),)
HARDEN := -O2 -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=3 -fstack-protector-strong \
  -fstack-clash-protection -fPIE
HARDEN += $(if $(filter x86_64,$(shell uname -m)),-fcf-protection)
LINK := -pie -Wl,-z,relro,-z,now
else
HARDEN := -O1 -fno-omit-frame-pointer -fsanitize=$(SAN) -fno-sanitize-recover=all
LINK := -fsanitize=$(SAN)
endif
CFLAGS_ALL := $(BASE) $(HARDEN) -pthread $(CFLAGS)

# pkg-config is asked when the first program is linked, so that `make deps` works without it.
PKGS := libevent libevent_openssl libevent_pthreads libcurl jansson openssl sqlite3 libargon2 \
  libseccomp libconfig
EXT = $(eval EXT := $$(shell pkg-config --libs $(PKGS)) -lcsv -lm)$(EXT)

# ---- sources

src = $(sort $(wildcard $(1)))
obj = $(patsubst %.c,$(BUILD)/%.o,$(1))

LIB_SRC := $(call src,lib/*.c)
OCR_SRC := $(filter-out ocr-ingest/main.c ocr-ingest/enrol.c ocr-ingest/feed%.c,$(call src,ocr-ingest/*.c))
PARTITIONS_SRC := $(call src,partitions/*.c)
TESTLIB_SRC := $(call src,tests/lib/*.c)

VRS := $(BUILD)/libvrs.a
OCR := $(BUILD)/libocr.a
PARTITIONS := $(BUILD)/libpartitions.a
TESTLIB := $(BUILD)/libtest.a

tablet-api_SRC := $(call src,tablet-api/*.c)
tablet-api_LIB := $(OCR) $(VRS)
# Folders by subject; number, signer and vrsctl are programs of their own.
vrs-server_SRC := $(call src,vrs-server/*.c) $(filter-out vrs-server/number/% vrs-server/signer/% \
  vrs-server/vrsctl/%,$(call src,vrs-server/*/*.c)) vrs-server/number/client.c vrs-server/signer/client.c
# line.c is what both ends of the line say.
vrs-server_SRC += $(if $(vrs-server_SRC),$(wildcard tablet-api/line.c))
vrs-server_LIB := $(PARTITIONS) $(OCR) $(VRS)
vrsctl_SRC := $(call src,vrs-server/vrsctl/*.c) vrs-server/inquiries/allow_list.c
vrsctl_LIB := $(PARTITIONS) $(OCR) $(VRS)
vrs-number_SRC := $(filter-out vrs-server/number/client.c,$(call src,vrs-server/number/*.c))
vrs-number_LIB := $(PARTITIONS) $(OCR) $(VRS)
vrs-signer_SRC := $(filter-out vrs-server/signer/client.c,$(call src,vrs-server/signer/*.c))
vrs-signer_LIB := $(OCR) $(VRS)
# Checks exports and receipts from outside: no keys, no partitions.
vrs-verify_SRC := $(call src,vrs-verify/*.c)
vrs-verify_LIB := $(OCR) $(VRS)
ocr-ingest_SRC := $(call src,ocr-ingest/main.c ocr-ingest/enrol.c ocr-ingest/feed*.c)
ocr-ingest_LIB := $(OCR) $(VRS)
ocr-scan_SRC := $(call src,ocr-ingest/scan/*.c)
ocr-scan_LIB := $(OCR) $(VRS)
ocr-scan_EXT := -lpng -lturbojpeg -ltiff
vrs-load_SRC := $(call src,tests/load/*.c)
vrs-load_LIB := $(PARTITIONS) $(OCR) $(VRS)

# A program whose main.c is not there is left out.
PROGRAMS := $(foreach p,tablet-api vrs-server vrsctl vrs-number vrs-signer vrs-verify ocr-ingest ocr-scan vrs-load,\
  $(if $(filter %/main.c,$($(p)_SRC)),$(p)))

# One program each. Their first twenty lines may hold `// needs: some/file.c -Wl,--wrap=fsync`: objects
# of programs, and linker flags, that they are linked with besides the libraries.
UNIT_SRC := $(call src,tests/unit/test_*.c)
FUZZ_SRC := $(call src,tests/fuzz/fuzz_*.c)
TOOL_SRC := $(call src,tests/bench/*.c tests/crash/*.c)
# Not in libtest.a: disk_calls.c stands in for the C library's calls in those that name it.
SIM_SRC := $(call src,tests/sim/*.c)
READER_TOOL_SRC := tests/ocr/measure.c tests/ocr/train.c
NEEDS := $(shell awk 'FNR <= 20 && /^\/\/ needs:/ {for (i = 3; i <= NF; i++) print FILENAME ":" $$i}' \
  /dev/null $(UNIT_SRC) $(FUZZ_SRC) $(TOOL_SRC) $(READER_TOOL_SRC))
needs = $(patsubst $(1):%,%,$(filter $(1):%,$(NEEDS)))

UNIT := $(UNIT_SRC:tests/unit/%.c=$(BUILD)/unit/%)
FUZZ := $(FUZZ_SRC:tests/fuzz/%.c=$(BUILD)/fuzz/%)
TOOLS := $(foreach s,$(TOOL_SRC),$(BUILD)/bin/$(basename $(notdir $(s))))
READER_TOOLS := $(READER_TOOL_SRC:tests/ocr/%.c=$(BUILD)/bin/reader-%)

ALL_SRC := $(sort $(LIB_SRC) $(OCR_SRC) $(PARTITIONS_SRC) $(TESTLIB_SRC) $(SIM_SRC) $(UNIT_SRC) \
  $(TOOL_SRC) \
  $(foreach p,$(PROGRAMS),$($(p)_SRC)))

# ---- rules

.PHONY: all app programs unit reader-tools fuzz-programs tidy-files FORCE
.SECONDARY:
.DELETE_ON_ERROR:
all: programs unit reader-tools
programs: $(VRS) $(OCR) $(PARTITIONS) $(PROGRAMS:%=$(BUILD)/bin/%) $(TOOLS) $(if $(SAN),,app)
unit: $(UNIT)
reader-tools: $(READER_TOOLS) $(BUILD)/reader.wasm
fuzz-programs: $(FUZZ)

# Objects are made anew when compiler or flags change.
$(BUILD)/flags: FORCE
	@mkdir -p $(@D)
	@echo '$(CC) $(CFLAGS_ALL)' | cmp -s - $@ || echo '$(CC) $(CFLAGS_ALL)' >$@

$(BUILD)/%.o: %.c $(BUILD)/flags
	@mkdir -p $(@D)
	$(if $(V),,@echo "  CC   $<")
	$(Q)$(CC) $(CFLAGS_ALL) -MMD -MP -c -o $@ $<

define archive
	@mkdir -p $(@D)
	$(if $(V),,@echo "  AR   $@")
	$(Q)rm -f $@ && ar rcs $@ $^
endef
$(VRS): $(call obj,$(LIB_SRC)); $(archive)
$(OCR): $(call obj,$(OCR_SRC)); $(archive)
$(PARTITIONS): $(call obj,$(PARTITIONS_SRC)); $(archive)
$(TESTLIB): $(call obj,$(TESTLIB_SRC)); $(archive)

# --as-needed: a program carries only the libraries that it uses.
link = $(Q)mkdir -p $(@D) && $(CC) -pthread $(LINK) -Wl,--as-needed -o $@ $^ $(1) $(EXT) $(LDFLAGS)
define program
$$(BUILD)/bin/$(1): $$(call obj,$$($(1)_SRC)) $$($(1)_LIB)
	$$(if $$(V),,@echo "  LD   $$@")
	$$(call link,$$($(1)_EXT))
endef
$(foreach p,$(PROGRAMS),$(eval $(call program,$(p))))

# $(1) program, $(2) its source, $(3) libraries and flags of its own
define single
$(1): $$(call obj,$(2) $$(filter %.c,$$(call needs,$(2)))) $$(TESTLIB) $$(PARTITIONS) $$(OCR) $$(VRS)
	$$(if $$(V),,@echo "  LD   $$@")
	$$(call link,$$(filter -%,$$(call needs,$(2))) $(3))
endef
$(foreach s,$(UNIT_SRC),$(eval $(call single,$(s:tests/unit/%.c=$(BUILD)/unit/%),$(s),-lcmocka)))
$(foreach s,$(FUZZ_SRC),$(eval $(call single,$(s:tests/fuzz/%.c=$(BUILD)/fuzz/%),$(s),-fsanitize=fuzzer)))
$(foreach s,$(TOOL_SRC),$(eval $(call single,$(BUILD)/bin/$(basename $(notdir $(s))),$(s))))
$(foreach s,$(READER_TOOL_SRC),$(eval $(call single,$(s:tests/ocr/%.c=$(BUILD)/bin/reader-%),$(s),-lfreetype)))
$(BUILD)/tests/ocr/train.o $(BUILD)/tests/ocr/frame.o $(call obj,$(call src,ocr-ingest/reader*.c)): CFLAGS_ALL += -O3
$(BUILD)/tests/ocr/frame.o: CFLAGS_ALL += $(shell pkg-config --cflags freetype2)

# The reader of tablets: the same source, without a C library.
$(BUILD)/reader.wasm: $(call src,ocr-ingest/reader*.c ocr-ingest/reader*.h)
	@mkdir -p $(@D)
	$(if $(V),,@echo "  WASM $@")
	$(Q)clang --target=wasm32 -std=c17 -O3 -ffp-contract=off -msimd128 -nostdlib -I. $(WARN) \
	  -Wl,--no-entry,-z,stack-size=131072 -o $@ $(filter %.c,$^)

# The tablet app. Its packages are fetched once for a lock file, unless they stand beside it already.
APP_DIR := tablet-api/app
APP_MODULES := $(if $(wildcard $(APP_DIR)/node_modules/esbuild),$(APP_DIR)/node_modules,$(BUILD)/node/node_modules)
app: $(BUILD)/app/index.html
$(BUILD)/node/node_modules/.done: $(APP_DIR)/package.json $(APP_DIR)/package-lock.json
	@mkdir -p $(BUILD)/node && cp $^ $(BUILD)/node/
	$(if $(V),,@echo "  NPM  $(BUILD)/node")
	$(Q)cd $(BUILD)/node && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error >npm.log 2>&1 || { cat npm.log; exit 1; }
	@touch $@
$(BUILD)/app/index.html: $(shell find $(APP_DIR) -path '*/node_modules' -prune -o -type f -print) $(BUILD)/reader.wasm \
  $(if $(filter $(BUILD)/%,$(APP_MODULES)),$(BUILD)/node/node_modules/.done)
	$(Q)node $(APP_DIR)/build.mjs $(BUILD)/app $(BUILD)/reader.wasm $(APP_MODULES)

-include $(patsubst %.c,$(BUILD)/%.d,$(ALL_SRC) $(FUZZ_SRC))

# ---- what a person asks for

.PHONY: controls deps deps-build run demo bench bench-reader bench-smoke reader-weights check check-long fuzz format format-check tidy cppcheck clean
deps:
	@mk/deps.sh test
deps-build:
	@mk/deps.sh build

# Parallel, unless a make above has said how.
SUBMAKE = $(MAKE) --no-print-directory $(if $(findstring jobserver,$(MAKEFLAGS)),,-j$(JOBS))

run: deps-build
	@$(SUBMAKE) programs
	@exec python3 dev/stack.py run
demo: deps-build
	@$(SUBMAKE) programs
	@exec python3 tests/demo/demo.py
bench-smoke: deps-build
	@$(SUBMAKE) programs
	@exec python3 tests/bench/smoke.py
bench:
	@mk/deps.sh bench
	@$(SUBMAKE) programs
	@exec env BUILD=$(BUILD) python3 tests/bench/bench.py $(SCENARIO) $(BENCH)

# The OCR reader beside tesseract, natively and as on a tablet (minutes)
bench-reader: deps
	@mk/deps.sh bench-reader
	@$(SUBMAKE) reader-tools
	@exec node tests/ocr/bench.mjs $(BUILD)

# The digit networks anew, from seed 1 (a quarter of an hour on two processors, 3 GB): tests/ocr/README.md
reader-weights: deps
	@$(SUBMAKE) $(BUILD)/bin/reader-train
	$(BUILD)/bin/reader-train 1 30000 14 >$(BUILD)/reader_weights.h
	mv $(BUILD)/reader_weights.h ocr-ingest/reader_weights.h

check: deps
	@exec python3 tests/run
check-long: deps
	@exec python3 tests/run --long
fuzz: deps
	@exec python3 tests/run fuzz

controls:
	@python3 tests/controls --write
C_FILES := $(sort $(shell find lib ocr-ingest tablet-api partitions vrs-server vrs-verify tests -name '*.[ch]' \
  2>/dev/null))
format:
	$(if $(C_FILES),clang-format -i $(C_FILES))
format-check:
	$(if $(C_FILES),@clang-format --dry-run -Werror $(C_FILES))

# A stamp per source, newer than its object: what did not change is not read again.  TIDY=all reads
# the tests, too, and lets the analyzer follow three times as many paths of a function (its default:
# three times as long, too).
TIDY_DEPTH = $(if $(TIDY),,-Xclang -analyzer-config -Xclang max-nodes=75000)
TIDY_OK = $(BUILD)/tidy$(if $(TIDY),-$(TIDY))
TIDY_SRC = $(if $(TIDY),$(ALL_SRC),$(filter-out tests/%,$(ALL_SRC)))
tidy:
	@$(SUBMAKE) -k -O tidy-files
tidy-files: $(TIDY_SRC:%.c=$(TIDY_OK)/%.ok)
$(TIDY_OK)/%.ok: %.c $(BUILD)/%.o .clang-tidy $(wildcard tests/.clang-tidy)
	@mkdir -p $(@D)
	@clang-tidy --quiet $< -- $(BASE) $(TIDY_DEPTH) 2>$@.err || { cat $@.err; exit 1; }
	@touch $@

# What a callee fills (structs, out pointers) is followed better by clang's analyzer and sanitisers.
cppcheck:
	@mkdir -p $(BUILD)/cppcheck
	@cppcheck --quiet --std=c11 --language=c -j$(JOBS) --cppcheck-build-dir=$(BUILD)/cppcheck \
	  --enable=warning,portability --inline-suppr --error-exitcode=1 \
	  --suppress=missingIncludeSystem --suppress=uninitvar --suppress=uninitStructMember \
	  --suppress=ctuuninitvar --suppress=nullPointer --suppress=ctunullpointer \
	  --suppress=literalWithCharPtrCompare --suppress=arrayIndexThenCheck \
	  -D_GNU_SOURCE -D__x86_64__ -I. $(filter-out tests/%,$(ALL_SRC))

clean:
	rm -rf $(BUILD)
