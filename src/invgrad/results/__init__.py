"""Result files, written atomically, each with its provenance record."""
