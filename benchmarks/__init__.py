"""Comparisons with named peers: the error beside the time, one thread, medians."""
