"""Many methods on one test set: one table and one report. `ccsr compare` runs it."""
