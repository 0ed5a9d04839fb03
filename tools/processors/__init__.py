"""The native engine's tests on every processor that this machine has or can emulate, by every compiler, under sanitizers."""
