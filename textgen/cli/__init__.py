"""The command line: parse, call, render. Data on stdout, everything else on stderr."""
