"""One kind of scorer to a file; a file that is put here is found."""
