# Sourced by demo.sh and test.sh in the repository's root: `prepare_environment` makes .venv hold the pinned set, and
# `$python` is its interpreter. The second time costs nothing: a stamp in .venv says what was installed, and where.
#
# torch comes from wherever pip is set to look. PyPI's Linux build brings several GB of CUDA; with PIP_EXTRA_INDEX_URL
# naming an index of CPU-only builds, the same pin takes the small one.

set -euo pipefail

constraints=scripts/constraints.txt
python=.venv/bin/python
stamp=.venv/installed

fail() {
    echo "$1" >&2
    exit 2
}

# A Python that is new enough and can make environments (Debian packs `ensurepip` apart): $PYTHON, then the version the
# pins were resolved on, then any other.
find_python() {
    local name
    for name in "${PYTHON:-}" python3.11 python3 python3.12 python3.13 python3.14 python; do
        if [[ -n $name ]] && "$name" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$name"
            return
        fi
    done
    fail "python: expected 3.11 or newer with its venv module, got $(python3 --version 2>&1 || echo none); run \`PYTHON=/path/to/python3.11 bash $0\`"
}

make_environment() {
    local base
    base=$(find_python)
    echo "set-up: making .venv with $("$base" --version) and installing the pinned set; the first time takes minutes" >&2
    rm -rf .venv
    mkdir .venv
    echo unfinished > $stamp # a kill from here on leaves something that the next run makes anew
    "$base" -m venv .venv >&2 || fail "set-up: expected a virtual environment in .venv, got the error above; run \`$base -m venv .venv\`"
}

install() {
    $python -m pip --disable-pip-version-check install -qq --constraint $constraints --editable '.[test,web,faiss,cluster,hloc,lite,watch,formats]' >&2
}

prepare_environment() {
    if command -v flock >/dev/null; then # two set-ups at once would trample each other
        exec 9< pyproject.toml
        flock 9
    fi
    # The place is part of the stamp: a copied .venv would run the code of the checkout it was copied from.
    local want found="$PWD" fresh="" # an unstamped .venv is someone's own: it is completed, never removed
    want="$PWD $(cat pyproject.toml $constraints | cksum)"
    [[ -f $stamp ]] && found=$(< $stamp)
    if [[ $found != "$want" || ! -x $python ]]; then
        if [[ -x $python && "$found " == "$PWD "* ]]; then
            echo "set-up: bringing .venv up to date with pyproject.toml and $constraints" >&2
            [[ ! -f $stamp ]] || echo unfinished > $stamp
        else
            make_environment
            fresh=yes
        fi
        if ! install; then
            if [[ $fresh ]]; then rm -rf .venv; elif [[ -f $stamp ]]; then echo "$PWD" > $stamp; fi
            fail "set-up: expected the packages of $constraints, got pip's error above; run \`bash $0\` again once it is mended"
        fi
        # The one package that leans on the system: its wheel is linked against the machine's OpenGL and GLib.
        if ! $python -c 'import cv2' 2>/dev/null; then
            echo "$PWD" > $stamp
            fail "opencv: expected the system libraries libGL.so.1 and libgthread-2.0.so.0, got none; run \`apt-get install libgl1 libglib2.0-0\`"
        fi
        echo "$want" > $stamp
    fi
    exec 9<&-
}
