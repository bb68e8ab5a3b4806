"""The built-in methods, one file each."""

if __name__ != "bench.methods":
    raise ImportError("Import this folder as 'bench.methods' (pip install -e .), not as 'methods'.")
