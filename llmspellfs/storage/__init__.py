"""The only room that touches SQLite and files: the index, the blobs, the spool, and what was lost and found.

It decides nothing about sessions: it stores what `service` tells it, in the order that keeps a crash harmless.
"""
