#!/usr/bin/env bash
# From nothing to an answer: set-up, a small gallery of real photographs in demo/, one query, a ranking, a report.
# Other queries may be given: bash scripts/demo.sh [QUERY...]
set -euo pipefail

queries=()
for query in "$@"; do # a path is relative to where the caller stands, not to the repository
    case $query in
        /* | gallery:*) queries+=("$query") ;;
        *) queries+=("$PWD/$query") ;;
    esac
done
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/environment.sh
[[ ${#queries[@]} -gt 0 ]] || queries=(demo/queries/coins_print.jpg)

prepare_environment
rm -rf demo/photos demo/gallery demo/report.html # all made below; other photos put in demo/queries stay
$python scripts/prepare.py demo demo
$python -m pipeline.index demo/photos --gallery demo/gallery

status=0
$python -m pipeline.run "${queries[@]}" --gallery demo/gallery -k 5 --report demo/report.html || status=$?
[[ ! -f demo/report.html ]] || echo "report: $PWD/demo/report.html"
exit $status
