"""Models: a GPT decoder and a context-propagation model, their initialisation, decoding states, and costs."""
