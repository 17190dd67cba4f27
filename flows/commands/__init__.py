"""Commands of the command line, one a file; each imports click alone at its top."""
