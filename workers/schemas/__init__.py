"""JSON Schemas of what is told to the outside, one file per kind of message."""
