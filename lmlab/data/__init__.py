"""Corpora, tokenizers, the token store, batch order and hygiene: from a file or a catalogue name to token files.

prepare(Data(corpus="shakespeare", tokenizer="characters")).tokens("train")
"""
