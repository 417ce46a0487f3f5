"""Arbitrary bytes for everything that reads bytes of others.

A `Target` runs one reader on one input. The readers may refuse with the exceptions that they document; anything else,
and any broken invariant, is a finding. `registry` names the files that hold the targets,
and `readers` what has none.

- `pytest tests/fuzz` tries a few inputs of each; `HYPOTHESIS_PROFILE=deep` many, `HYPOTHESIS_EXAMPLES` says how many.
- `corpus/` has the inputs that the search found and that show something new; every run of the tests reads them again.
- `python -m tests.fuzz --seconds 60 [target …]` lets coverage guide the search (needs the dependency group `fuzz`).
"""
