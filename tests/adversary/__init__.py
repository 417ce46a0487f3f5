"""Whoever may be hostile, each with what it can try where no other test tries it, and what bounds it.

`docs/threat-model.md` says what each party wants and which tests, here and elsewhere, hold it.
"""
