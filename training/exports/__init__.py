"""A finished bundle turned into something that scores without Lockstep: one package a format, listed in `formats`."""
