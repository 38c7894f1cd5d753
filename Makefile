# SPDX-License-Identifier: Apache-2.0

VERSION ?= $(shell git describe --tags --match 'v[0-9]*' 2>/dev/null | sed 's/^v//')
ifeq ($(strip $(VERSION)),)
VERSION := 0.1.0~dev$(shell git rev-list --count HEAD 2>/dev/null).g$(shell git rev-parse --short=9 HEAD 2>/dev/null || echo unknown)
endif
ARCH := $(shell go env GOARCH 2>/dev/null)
# The time of the commit: the same source makes the same package, byte for byte.
SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct 2>/dev/null || echo 0)
export SOURCE_DATE_EPOCH
# What the black-box tests run: the binaries of `make build`.
export DAVIT_BIN := $(CURDIR)/bin

TAGS    := seccomp,runc_nocriu
COMMIT  := $(shell git rev-parse --short=9 HEAD 2>/dev/null || echo unknown)
MODULE  := github.com/davit-engine/davit
LDFLAGS := -s -w -X $(MODULE).Release=$(VERSION) -X $(MODULE).Commit=$(COMMIT)
GOFLAGS_BUILD := -trimpath -buildmode=pie -ldflags '$(LDFLAGS)'
# There is one holder for each container: at a place of its own choosing the
# linker's tables would be half a megabyte of memory that is not shared.
GOFLAGS_HOLDER := -trimpath -ldflags '$(LDFLAGS)'
# It is executed two times for each start and each exec, and a dynamic loader
# takes a third of that: docs/decisions/0016-the-monitor-is-static.md.
GOFLAGS_MONITOR := -trimpath -ldflags '$(LDFLAGS) -linkmode external -extldflags "-static"'
# Static: they run where there is whatever libc an image has, or none.
CFLAGS_STATIC := -std=gnu11 -Os -static -s -Wall -Wextra -Werror
TOOL    := go tool -modfile=tools/go.mod

# Root is needed to install packages, and by the tests that use the real kernel.
SUDO    := $(if $(filter 0,$(shell id -u)),,sudo -E env PATH=$(PATH))
EXECAS  := $(if $(SUDO),-exec '$(SUDO)',)

# Every folder that is a module of its own and is tested with the rest; the
# tests of one that need more modules than it does are a module below it.
THIRD_PARTY := $(patsubst %/go.mod,%,$(wildcard third_party/*/go.mod third_party/*/*/go.mod))

DEPS_BUILD := gcc libc6-dev pkg-config libseccomp-dev
DEPS_RUN   := iptables iproute2 dbus systemd procps
DEPS_DEMO  := busybox-static curl
DEPS_TEST  := apparmor systemd-container mmdebstrap docker-registry skopeo qemu-system-x86 e2fsprogs redis-tools zstd wget libglib2.0-bin libglib2.0-dev-bin shellcheck libxml2-utils rpm man-db polkitd

.DEFAULT_GOAL := help

.PHONY: help
help: ## show this list
	@grep -hE '^[a-z][a-z-]*:.*## ' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

.PHONY: deps
deps: ## install the Debian packages that are missing to build, demonstrate and test
	@packaging/deps.sh $(DEPS_BUILD) $(DEPS_RUN) $(DEPS_DEMO) $(DEPS_TEST) +docker

.PHONY: deps-demo
deps-demo:
	@packaging/deps.sh $(DEPS_BUILD) $(DEPS_RUN) $(DEPS_DEMO)

.PHONY: build
build: ## put davitd, davit-monitor, davit-holder, davit-enter, davit-init and davitctl in bin/
	CGO_ENABLED=0 go build $(GOFLAGS_BUILD) -o bin/davitd ./cmd/davitd
	CGO_ENABLED=0 go build $(GOFLAGS_HOLDER) -o bin/davit-holder ./cmd/davit-holder
	CGO_ENABLED=0 go build $(GOFLAGS_BUILD) -o bin/davitctl ./cmd/davitctl
	CGO_ENABLED=1 go build -tags $(TAGS),netgo,osusergo $(GOFLAGS_MONITOR) -o bin/davit-monitor ./cmd/davit-monitor
	$(CC) $(CFLAGS_STATIC) -o bin/davit-init cmd/davit-init/init.c
	$(CC) $(CFLAGS_STATIC) -o bin/davit-enter cmd/davit-enter/*.c

.PHONY: demo
demo: deps-demo build ## start an engine and run a container in it; leaves the engine running
	@$(SUDO) test/demo/demo.sh start

.PHONY: demo-stop
demo-stop: ## take all of the demo away
	@$(SUDO) test/demo/demo.sh stop

.PHONY: test
test: deps build deb rpm ## everything: vet, the tests as root, a booted tree with the package in it
	go vet -tags $(TAGS) ./...
	@for dir in $(THIRD_PARTY); do (cd $$dir && echo "go test $$dir" && go test $(EXECAS) ./...) || exit 1; done
	go test -tags $(TAGS) -count=1 -timeout 25m $(EXECAS) ./...
	CGO_ENABLED=1 go test -race -count=1 -timeout 5m ./engine

.PHONY: test-boot
test-boot: build deb rpm ## only the booted tree
	go test -count=1 -v -timeout 10m $(EXECAS) ./test/boot

.PHONY: test-vm
test-vm: build deb ## only the booted tree as a virtual machine: cgroup v2 and Debian's kernel, by qemu
	go test -count=1 -v -timeout 20m $(EXECAS) -run VM ./test/boot

FUZZTIME ?= 5m
.PHONY: fuzz
fuzz: ## every fuzz target of the tree for FUZZTIME (5m), one after another; FUZZ=name has those that match
	@$(SUDO) test/fuzz/fuzz.sh '$(FUZZTIME)' '$(FUZZ)'

.PHONY: bench
bench: build ## Davit beside Debian's dockerd: median of 20, interleaved; BENCH="60 exec" has 60 of exec alone
	@packaging/deps.sh $(DEPS_RUN) $(DEPS_DEMO) docker.io
	@$(SUDO) test/bench/bench.sh $(BENCH)

.PHONY: package-files
package-files: build
	@mkdir -p dist/man dist/completions
	@packaging/notices.sh > dist/THIRD-PARTY-NOTICES
	@gzip -9n < CHANGELOG.md > dist/changelog.gz
	@rm -f dist/man/*
	@for page in docs/man/*.[1-8]; do gzip -9n < $$page > dist/man/$${page##*/}.gz || exit 1; done
	@for shell in bash zsh fish; do bin/davitctl completion $$shell > dist/completions/$$shell || exit 1; done

.PHONY: deb
deb: package-files ## build dist/davit_<version>_<arch>.deb
	@rm -f dist/davit_*.deb
	VERSION='$(VERSION)' ARCH=$(ARCH) $(TOOL) nfpm package --config packaging/nfpm.yaml --packager deb --target dist/davit_$(VERSION)_$(ARCH).deb

.PHONY: rpm
rpm: package-files ## build dist/davit-<version>.<arch>.rpm
	@rm -f dist/davit-*.rpm
	VERSION='$(VERSION)' ARCH=$(ARCH) $(TOOL) nfpm package --config packaging/nfpm.yaml --packager rpm --target dist/

.PHONY: lint
lint: ## golangci-lint, gofumpt and shellcheck
	$(TOOL) golangci-lint run --build-tags $(TAGS)
	@files=$$($(TOOL) gofumpt -l $$(git ls-files '*.go' | grep -v ^third_party/)); test -z "$$files" || { echo "gofumpt would change: $$files"; exit 1; }
	shellcheck $$(git ls-files '*.sh' packaging/scripts .ci/run)

.PHONY: clean
clean: ## remove what was built
	rm -rf bin dist
