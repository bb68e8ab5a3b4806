"""Download, check and describe the files of tasks (``bench data``)."""
