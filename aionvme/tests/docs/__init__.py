"""The documentation's code blocks, executed: README.md and docs/*.md, against the mock. `make docs` runs them."""
