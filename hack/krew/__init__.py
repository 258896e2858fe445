"""kubectl-curation for krew: an archive that needs no Python where it runs, and the manifest that names them."""
