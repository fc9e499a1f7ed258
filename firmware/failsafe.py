# Outputs and their fail-safe levels: ((pin, level), ...). `guet node flash` writes the board's own over this.
OUTPUTS: tuple = ()
