"""Readout of CRU cards: loops over mapped BARs, checks of raw data, a recorder; itself a task."""
