#!/usr/bin/env bash
# The whole loop with people, on 30 photos that nobody has labelled:
#
#   bash examples/label_by_hand.sh FOLDER [arguments of mmal train]
#
# Where you would sit in Label Studio, examples/people.py plays the people: it
# draws the boxes that are known of these photos. The rest is what you type.
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
FOLDER=${1:?name a folder to work in}
shift
mkdir -p "$FOLDER" && cd "$FOLDER"

# the command itself, for a checkout that is not installed
mmal() { "${PYTHON:-python}" -m mmal "$@"; }
# it ends with 3 when it waits for people
train() { mmal train "$HERE/label_by_hand.py" --work-dir run --resume "$@" || [ $? = 3 ]; }

# what is on the photos is known, and kept from the run
"${PYTHON:-python}" -c "from mmal.datasets.digits import make_digits; make_digits('known', pool=30, val=10)"
mkdir -p photos && cp known/images/pool_* photos

# a pool of photos without labels
mmal pool photos -o photos.json --classes known/val.json

# 10 at random, then 10 that the detector chooses, with the boxes it predicts
train "$@"
for request in 1 2; do
    mmal labels export run --to label-studio --score-thr 0.1 --out "tasks_$request.json"
    "${PYTHON:-python}" "$HERE/people.py" "tasks_$request.json" known/pool.json export.json
    mmal labels import run export.json
    train "$@"
done
mmal labels status run
echo "the report is $FOLDER/run/report.html"
