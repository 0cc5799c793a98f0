# Everything a newcomer needs: `make demo` shows it working, `make test` proves it.

.PHONY: setup demo resilience bench bench-peers fuzz lab-quick lab-report draft interop test check clean

# The virtual environment and the Debian packages; a moment when they are there already.
setup:
	@bash scripts/setup.sh

demo: setup
	.venv/bin/dmmp demo

# What a session withstands, in one table; hours with the numbers as they are, or e.g.
# make resilience OPTIONS="--repetitions 3 --only super-node member".
resilience: setup
	.venv/bin/python -m dmmp.demo.resilience $(OPTIONS)

# How fast it is, beside small C programs, in one table; half an hour with the numbers as they are,
# or e.g. make bench OPTIONS="--only relay --brief --json bench.json". docs/performance.md explains.
bench: setup
	.venv/bin/python -m tests.bench $(OPTIONS)

# The same beside other programs that carry multicast, which this installs.
bench-peers: setup
	@bash scripts/setup-peers.sh
	.venv/bin/python -m tests.bench.peers $(OPTIONS)

# Every parser against made-up input, a million runs each: hours; or for a few minutes
# make fuzz OPTIONS="--runs 20000". Needs atheris, which this installs where there is one.
fuzz: setup
	@.venv/bin/python -m pip install -q -e '.[fuzz]' || true
	.venv/bin/python -m tests.fuzz $(OPTIONS)

# The overlay beside its relatives, on one small network: two minutes, and a page about it.
lab-quick: setup
	.venv/bin/dmmp lab run quick --out build/lab-quick
	.venv/bin/dmmp lab report build/lab-quick

# The whole report, docs/laboratory.html: what is in docs/laboratory-results is not run again, all
# of it takes hours: make lab-report LAB_RESULTS=build/lab. The external checks come first; which of
# them fail stands at the head of the page. docs/laboratory.md explains.
LAB_RESULTS = docs/laboratory-results
LAB_STUDIES = trees ablation transit-stub globe churn noticed jsac scaling large
lab-report: setup
	-.venv/bin/dmmp lab run checks --out $(LAB_RESULTS)/checks
	for study in $(LAB_STUDIES); do \
	  .venv/bin/dmmp lab run $$study --out $(LAB_RESULTS)/$$study $(OPTIONS) || exit 1; \
	done
	.venv/bin/dmmp lab report $(LAB_RESULTS) --out docs/laboratory.html

# The notes as one document in the shape of an Internet-Draft: build/draft/, text, HTML and XML.
draft: setup
	.venv/bin/python -m interop.draft $(OPTIONS)

# Who understands whom: every scenario with every pair of implementations, in namespaces; a table,
# ten minutes. interop/CONTRACT.md says how another implementation takes part.
interop: setup
	.venv/bin/python -m interop.runner $(OPTIONS)

# Everything, also what needs root: under ten minutes on two cores.
test: setup
	.venv/bin/python -m tests all

# The fast part: about a minute, no privilege needed.
check: setup
	.venv/bin/python -m tests

clean:
	rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
