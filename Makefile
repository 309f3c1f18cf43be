# labd: `make demo` shows it, `make test` checks it, `make build` makes it. See README.md.

SHELL       := /bin/bash
.SHELLFLAGS := -o pipefail -ec
.DEFAULT_GOAL := build

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo development)
LDFLAGS := -s -w -X main.version=$(VERSION)
GO      ?= go
TOOL    := $(GO) tool -modfile=tools/go.mod

# Debian 12 packages. What runs labd's jobs, what the lab is made of, and what only the tests need.
DEMO_PACKAGES := docker.io iptables nftables iproute2 iputils-ping lxc uidmap busybox-static e2fsprogs pci.ids util-linux mount systemd
TEST_PACKAGES := $(DEMO_PACKAGES) ipset lvm2 curl procps gcc libc6-dev debootstrap prometheus shellcheck lintian qemu-system-x86 cpio xz-utils postfix frr dnsmasq-base radvd udhcpc dhcpcd-base isc-dhcp-client chromium xfsprogs btrfs-progs dosfstools cryptsetup-bin

.PHONY: build go deb release demo test test-full lint unit soak soak-hosts bench screenshots mutants fuzz packages-demo packages-test clean

go: # says where to get Go before anything is installed or built
	@test/go.sh '$(GO)'

build: go ## static binaries in bin/
	@mkdir -p bin
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/ ./cmd/labd ./cmd/labctl

deb: go ## the Debian package, in dist/
	@packaging/build.sh '$(VERSION)' $$($(GO) env GOARCH)

release: go ## packages, tarballs, an apt repository, bills of materials and checksums, in dist/release; LABD_SIGNING_KEY signs
	@packaging/release.sh '$(VERSION)'

packages-demo: go
	@test/packages.sh $(DEMO_PACKAGES)

packages-test: go
	@test/packages.sh $(TEST_PACKAGES)

demo: packages-demo build ## the three jobs on an embedded lab, explained as they go
	@mkdir -p bin
	@CGO_ENABLED=0 $(GO) build -trimpath -o bin/demo ./test/demo
	@bin/demo

test: packages-test build lint unit ## everything, for real

lint:
	@echo '== gofumpt'; files=$$($(TOOL) gofumpt -l $$(git ls-files '*.go')); if [ -n "$$files" ]; then echo "not formatted: $$files"; exit 1; fi
	@echo '== go vet'; $(GO) vet ./...; cd test/peers && $(GO) vet ./...
	@echo '== staticcheck'; $(TOOL) staticcheck ./...
	@echo '== golangci-lint'; $(GO) tool -modfile=tools/golangci-lint/go.mod golangci-lint run ./internal/... ./api/... ./cmd/...
	@echo '== shellcheck'; git ls-files '*.sh' .ci/run packaging/preinst packaging/postinst packaging/prerm packaging/postrm | xargs -r shellcheck
	@echo '== systemd-analyze verify'; test/verify-unit.sh systemd/labd.service

unit:
	@test/run.sh
	@echo '== 20,000 made-up hosts'; $(GO) test ./test/hostmodel -count=1 -run TestNoPlanTouchesWhatLives

test-full: packages-test build lint ## make test, and what takes long: Docker 26 in a tree of Debian 13
	@LABD_TEST_TAGS=full test/run.sh

screenshots: packages-demo build ## the pictures of docs/img, from the demo lab in a browser
	@test/packages.sh chromium
	@CGO_ENABLED=0 $(GO) build -trimpath -o bin/demo ./test/demo
	@test/screenshots.sh

SOAK ?= 30m
soak: packages-demo build ## labd for SOAK (30m) on a lab that never rests: memory, files and goroutines must stay flat; then soak-hosts
	@CGO_ENABLED=0 $(GO) build -trimpath -o bin/soak ./test/soak
	@bin/soak -duration $(SOAK)
	@$(MAKE) --no-print-directory soak-hosts

HOSTS ?= 1000000
soak-hosts: ## labd is asked about HOSTS (1000000) made-up hosts: no plan may touch what lives
	@$(GO) test ./test/hostmodel -run TestNoPlanTouchesWhatLives -hosts $(HOSTS) -timeout 0 -v

BENCH_PACKAGES := $(TEST_PACKAGES) prometheus-node-exporter

bench: ## benchmarks, as a table; node_exporter is scraped beside labd
	@test/packages.sh $(BENCH_PACKAGES)
	@test/bench.sh

# Where a guard that nobody tests costs somebody a weekend.
AT_LEAST ?= 0
MUTANTS ?= plan statefile host lxc docker reconcile netfilter
mutants: ## the guards of MUTANTS, weakened one by one: which of these mutants do the package's own fast tests not notice?
	@$(GO) run ./test/mutants -at-least $(AT_LEAST) $(addprefix ./internal/,$(MUTANTS))

FUZZTIME ?= 10m
fuzz: ## every fuzz target for FUZZTIME (10m), one after another
	@test/fuzz.sh $(FUZZTIME)

clean:
	rm -rf bin dist
