"""The command line. Module level imports here are layer 0 only, so that help and mistakes are answered at once."""
