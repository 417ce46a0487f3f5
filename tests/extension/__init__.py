"""Tests of the browser extension."""
