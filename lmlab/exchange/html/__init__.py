"""A model as one page of HTML: its weights, tokenizer and inference in JavaScript, which a browser runs without a server."""
