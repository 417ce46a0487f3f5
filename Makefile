# Every target works in .venv/, which scripts/setup makes; nothing is written outside the repository.
#   make demo ARGS="--relays 3 --exits 1"     make test ARGS="tests/node -x"

BIN := .venv/bin
export PYTHON

.PHONY: setup demo test fuzz api-fuzz lint extension bench docs audit sbom dist prove-no-logs prove-no-leaks chaos clean

setup:
	@sh scripts/setup

demo: setup
	@exec $(BIN)/macrovpn demo $(ARGS)

test: setup
	$(BIN)/pytest $(ARGS)

# ARGS="--seconds 60 exit link"; without ARGS a minute for each target. --keep: keep for the tests what shows something new
fuzz: setup
	@UV_CACHE_DIR=.venv/.cache/uv UV_SYSTEM_CERTS=1 $(BIN)/uv sync --quiet --locked --inexact --group fuzz
	$(BIN)/python -m tests.fuzz $(ARGS)

# Requests to a real node's control interface, made out of its description. ARGS="--examples 1000 --seed 2"
api-fuzz: setup
	$(BIN)/python -m tests.fuzz.api $(ARGS)

lint: setup
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy

# dist/macrovpn-chromium.zip and dist/macrovpn-firefox.zip, and a folder of each to load unpacked
extension: setup
	$(BIN)/python -m scripts.extension

# This network beside Tor, Shadowsocks and WireGuard, where they are installed; root for the last and for distance.
# Figures and plots go to build/bench. ARGS="--only loopback" for a part; `.venv/bin/python -m bench --help` has more
bench: setup
	$(BIN)/python -m bench compare --table $(ARGS)

# The documents as a site in build/site, with every link looked at. ARGS=serve shows it on this machine
docs: setup
	@UV_CACHE_DIR=.venv/.cache/uv UV_SYSTEM_CERTS=1 $(BIN)/uv sync --quiet --locked --inexact --group docs
	$(BIN)/python -m scripts.make_docs $(ARGS)

# Known vulnerabilities of all that is locked. Exit code 1: there are some; 2: not audited, which is no good news
audit: setup
	@$(BIN)/python -m scripts.audit $(ARGS)

# dist/macro_vpn-VERSION.cdx.json: what it consists of (CycloneDX 1.5)
sbom: setup
	@$(BIN)/python -m scripts.sbom

# dist/: wheel, sdist, extensions, digests, out of the last commit; the same bytes wherever it is made
dist: setup
	@$(BIN)/python -m scripts.dist $(ARGS)

# A network with canaries in all that it carries, and with violent ends; then a search of all that it wrote.
prove-no-logs: setup
	$(BIN)/python -m tests.proofs.no_logs $(ARGS)

# Every packet of browsers and of their node is counted. As root, on Linux; ARGS="foxhttp" for one browser
prove-no-leaks: setup
	$(BIN)/python -m tests.proofs.no_leaks $(ARGS)

# Twelve nodes under load that are killed, stopped, cut off and damaged (docs/chaos.md). ARGS="--seconds 600 --seeds 1-10"
chaos: setup
	@exec $(BIN)/python -m tests.chaos $(ARGS)

clean:
	rm -rf .cache .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
