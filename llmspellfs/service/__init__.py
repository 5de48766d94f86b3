"""The one API behind every door: sessions, artifacts, entries, search and upkeep of a store.

The service owns the clock, the ids and the transactions: one call is one transaction, and content is durable before
the row that names it. Doors translate; every rule is here or in `model`. All methods may be called from any thread.
"""
