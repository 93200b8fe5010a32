"""The rows of this package: one file for each method, or family of methods. Each registers its own (`jprm.rl.row`)."""
