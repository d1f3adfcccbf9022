"""What a command's exit status tells a script; documented in `triad --help`."""

EXIT_DONE = 0
EXIT_USAGE = 2  # given by typer itself
EXIT_NOT_ALL_INSPECTED = 3  # done, and some frames are dead letters or were lost
EXIT_NOT_ALL_SENT = 3  # done, and some of what was given to `triad produce` is no frame
EXIT_AUDIT_FAILED = 4
EXIT_REFUSED = 5
EXIT_UNAVAILABLE = 6
EXIT_GOLDEN_MOVED = 7  # a golden part was answered otherwise than expected, or not at all
