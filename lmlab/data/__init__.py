"""Corpora, tokenizers, the token store, batch order and hygiene: from a file or a catalogue name to token files.

`preparation.prepare(Data(corpus="shakespeare", tokenizer="characters")).tokens("train")` is the training split's tokens.
"""
