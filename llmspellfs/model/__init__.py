"""What sessions, artifacts, events and queries are: values and rules, with no I/O and no clock.

Everything here is immutable and may be used from any thread.
"""
