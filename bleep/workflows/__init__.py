"""The stages joined: fit, index, query, evaluate, calibrate, report. Commands call these and print."""
