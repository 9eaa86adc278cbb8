"""The endurance test, `make soak`: load, faults and resets for a long time, and an oracle of what must be there.

Belongs here: what is done to the driver, and what is then verified. Does not: anything of one fault alone, which has a
test in `aionvme/tests`.
"""
