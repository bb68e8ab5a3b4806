"""Read and write the files of a run folder, on a disk or at a URL."""
