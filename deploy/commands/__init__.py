"""One module a command group. Heavy imports stay inside the functions, so that `headrace --help` is quick."""
