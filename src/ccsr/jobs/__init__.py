"""Folders and files to results: names, the journal that makes a folder job resumable, and the loop over it."""
