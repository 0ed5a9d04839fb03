"""Corpora in shards that are read from their beginning, and only as far as a token budget needs.

files -> rows from a place on -> documents -> tokens, until the budget is reached -> data set
hub      rows, remote            documents    encoding                               preparing
"""
