#!/bin/sh
# Usage: python.sh VENV PYTHON
# Refuse a Python that cannot make or run the environment, before anything is installed.
# The Python may be missing or as old as 2.7, so this is a shell script, and what it runs is valid in every Python.
venv=$1
shift
least=$(sed -n 's/^requires-python = ">=\([0-9.]*\)"/\1/p' pyproject.toml)
install="Install Python $least or newer with its module venv, or name one: PYTHON=/path/to/python$least."
clean="Run make clean, then the same command again, with PYTHON=/path/to/python$least if python3 is older."

fail() {
    echo "make: $*" >&2
    exit 1
}

# fault_of PYTHON [MODULE ...]: say what is wrong with a Python and return 1, or return 0.
fault_of() {
    python=$1
    shift
    $python -c pass > /dev/null 2>&1 || { echo "does not start"; return 1; }
    $python - "$least" "$@" 2>&1 <<'CODE'
import sys
if sys.version_info[:2] < tuple(int(part) for part in sys.argv[1].split(".")):
    sys.exit("is too old (%d.%d.%d)" % tuple(sys.version_info[:3]))
for module in sys.argv[2:]:
    try:
        __import__(module)
    except ImportError:
        sys.exit("has no module " + module)
CODE
}

if [ -e "$venv" ] || [ -L "$venv" ]; then
    fault=$(fault_of "$venv/bin/python") || fail "The Python in $venv $fault. $clean"
    if [ -e "$venv/bin/bench" ] && ! grep -qF "$(pwd -P)/$venv/bin/python" "$venv/bin/bench"; then
        fail "$venv was made in another folder, and its programs start the Python there. $clean"
    fi
    exit 0
fi
command -v ${1:+"$1"} > /dev/null || fail "$* is not found. $install"
fault=$(fault_of "$*" venv ensurepip) || fail "$* $fault. $install"
