"""What this project is made of and how it is delivered: digests, advisories, the bill of materials, wheel and sdist."""
