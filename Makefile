# make demo    set up (the first time), train a first model, draw its curves
# make test    set up (the first time), run the tests; make coverage tells what they did not run
# make test-faults    thousands of kills of trainings, disks that refuse, second writers: an hour
# make test-processors    the native engine by every compiler, on every processor that is here or emulated, under sanitizers
# make test ARGS="-k resume"    chosen tests;    make demo PYTHON=python3.12    another Python
# Without make: python tools/set_up.py demo

PYTHON ?= python3
COMMANDS := demo test test-faults test-processors coverage lint types clean

.PHONY: $(COMMANDS) set-up
.DEFAULT_GOAL := set-up

set-up:
	@$(PYTHON) tools/set_up.py

$(COMMANDS):
	@$(PYTHON) tools/set_up.py $@ $(ARGS)
