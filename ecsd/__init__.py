"""Thin processes around libecs: daemons and command-line tools."""
