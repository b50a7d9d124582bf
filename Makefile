# `make help` lists the verbs. PG_CONFIG chooses the PostgreSQL for build, install and installcheck.

PG_CONFIG ?= pg_config
# Where `install` puts it; another than PG_CONFIG only for a copy of the same PostgreSQL.
INSTALL_PG_CONFIG ?= $(PG_CONFIG)
INSTALL ?= install
DESTDIR ?=

# Asked only by the verbs that need it: the demo and the tests bring their own PostgreSQL.
major = $(shell "$(PG_CONFIG)" --version | sed -E 's/^PostgreSQL ([0-9]+).*/\1/')
stage = target/pg$(major)/stage
pkglibdir = $(DESTDIR)$(shell "$(INSTALL_PG_CONFIG)" --pkglibdir)
extdir = $(DESTDIR)$(shell "$(INSTALL_PG_CONFIG)" --sharedir)/extension
bindir = $(DESTDIR)$(shell "$(INSTALL_PG_CONFIG)" --bindir)
regress = $(shell dirname "$$("$(PG_CONFIG)" --pgxs)")/../test/regress/pg_regress
isolation = $(shell dirname "$$("$(PG_CONFIG)" --pgxs)")/../test/isolation/pg_isolation_regress
names = $(sort $(basename $(notdir $(1))))

.PHONY: all pg_config install package deb deb-server verifier server install-verifier installcheck demo serve stop test test-citus reference clean help
.NOTPARALLEL:

all:
	@scripts/build "$(PG_CONFIG)"

# Before any verb that asks it where things are: a wrong path gets one answer.
pg_config:
	@for path in "$(PG_CONFIG)" "$(INSTALL_PG_CONFIG)"; do \
		command -v "$$path" >/dev/null || { echo "$$path not found: set PG_CONFIG=/path/to/pg_config" >&2; exit 1; }; \
	done

# `make && sudo make install` must not need Rust for root: build only if nothing is built yet, or
# if a source file is newer than what is.
define build_if_stale
	@if [ ! -d $(stage) ] || [ -n "$$(find Cargo.toml Cargo.lock *.control src crates sql -newer $(stage))" ]; then \
		scripts/build "$(PG_CONFIG)"; fi
endef

install: pg_config
	$(build_if_stale)
	$(INSTALL) -d "$(pkglibdir)" "$(extdir)" "$(bindir)"
	$(INSTALL) -m 755 $(stage)/immutable.so "$(pkglibdir)/"
	$(INSTALL) -m 755 scripts/immutable-nightly scripts/immutable-cosign "$(bindir)/"
	$(INSTALL) -m 644 $(stage)/*.control $(stage)/*.sql "$(extdir)/"

# Everything that an installation needs, to be copied to where `pg_config --pkglibdir`, `--sharedir`/extension and
# `--bindir` say.
tree = target/dist/immutable-$(version)-pg$(major)
version = $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
package: pg_config
	$(build_if_stale)
	@rm -rf "$(tree)"
	@$(INSTALL) -d "$(tree)/lib" "$(tree)/extension" "$(tree)/bin" "$(tree)/doc/docs/design" "$(tree)/doc/docs/pictures"
	@$(INSTALL) -m 755 scripts/immutable-nightly scripts/immutable-cosign "$(tree)/bin/"
	@$(INSTALL) -m 755 $(stage)/immutable.so "$(tree)/lib/"
	@$(INSTALL) -m 644 $(stage)/*.control $(stage)/*.sql "$(tree)/extension/"
	@$(INSTALL) -m 644 LICENSE README.md CHANGELOG.md CONTRIBUTING.md SECURITY.md META.json "$(tree)/doc/"
	@$(INSTALL) -m 644 docs/*.md "$(tree)/doc/docs/"
	@$(INSTALL) -m 644 docs/design/*.md "$(tree)/doc/docs/design/"
	@$(INSTALL) -m 644 docs/pictures/*.svg "$(tree)/doc/docs/pictures/"
	@echo "$(tree)"

deb: package
	@scripts/deb "$(major)" "$(tree)"

deb-server: server
	@scripts/deb server

# The program that verifies exports. It needs no PostgreSQL, and belongs where the exports are, not on the server.
verifier:
	cargo build --release --locked -p immutable-verify
	@echo target/release/immutable-verify

# The program that serves the log over HTTP. It needs no PostgreSQL on its machine.
server:
	cargo build --profile program --locked -p immutable-server
	@echo target/program/immutable-server

PREFIX ?= /usr/local
install-verifier:
	@[ -x target/release/immutable-verify ] || { echo 'run make verifier first' >&2; exit 1; }
	$(INSTALL) -d "$(DESTDIR)$(PREFIX)/bin" "$(DESTDIR)$(PREFIX)/share/man/man1"
	$(INSTALL) -m 755 target/release/immutable-verify scripts/immutable-nightly scripts/immutable-cosign "$(DESTDIR)$(PREFIX)/bin/"
	$(INSTALL) -m 644 crates/verify/man/immutable-verify.1 "$(DESTDIR)$(PREFIX)/share/man/man1/"

installcheck: pg_config
	mkdir -p target/installcheck/regress target/installcheck/isolation
	"$(regress)" --inputdir=tests/regress --outputdir=target/installcheck/regress \
		--bindir="$$("$(PG_CONFIG)" --bindir)" --dbname=contrib_regression \
		$(call names,$(wildcard tests/regress/sql/*.sql))
	"$(isolation)" --inputdir=tests/isolation --outputdir=target/installcheck/isolation \
		--bindir="$$("$(PG_CONFIG)" --bindir)" --dbname=contrib_regression --load-extension=immutable \
		$(call names,$(wildcard tests/isolation/specs/*.spec))

demo:
	@scripts/setup demo
	@scripts/pg install
	@scripts/pg start demo
	@scripts/demo

serve:
	@scripts/setup demo
	@scripts/pg install
	@scripts/serve

stop:
	@scripts/stop

test:
	@scripts/setup test
	@tests/run

# The tests on a distributed log. They need a PostgreSQL with Citus, which PG_CONFIG names.
test-citus: pg_config
	@scripts/setup test
	@tests/run --citus "$(PG_CONFIG)"

# The comments of sql/ as docs/reference.md; a test fails where they differ.
reference:
	@scripts/setup test
	@scripts/reference

clean:
	rm -rf target

help:
	@echo 'make               build for the PostgreSQL of PG_CONFIG (default: pg_config)'
	@echo 'make install       install into that PostgreSQL (honours DESTDIR)'
	@echo 'make package       collect what an installation needs, in target/dist'
	@echo 'make deb           make a Debian package for that PostgreSQL, in target/dist'
	@echo 'make deb-server    make a Debian package of immutable-server, in target/dist'
	@echo 'make verifier      build immutable-verify, which checks exports and needs no PostgreSQL'
	@echo 'make server        build immutable-server, which serves the log over HTTP'
	@echo 'make install-verifier  install it and its manual page below PREFIX (default /usr/local)'
	@echo 'make installcheck  run the SQL tests on its running server (PGHOST, PGPORT, PGUSER)'
	@echo 'make demo          show it on a private server; nothing of the system is changed'
	@echo 'make serve         serve an empty log over HTTP on loopback, until Ctrl-C; prints address and key'
	@echo 'make test          install what the tests need, and run all of them'
	@echo 'make test-citus    the tests on three nodes of Citus; PG_CONFIG names a PostgreSQL that has it'
	@echo 'make reference    write docs/reference.md from the comments of sql/'
	@echo 'make stop          stop the private servers of the demo and the tests'
	@echo 'make clean         delete what was built'
