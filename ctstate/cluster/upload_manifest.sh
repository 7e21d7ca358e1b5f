#!/bin/bash
#SBATCH --job-name=ctstate
#SBATCH --time=96:00:00
#SBATCH --nodes=1
#SBATCH --ntasks=1
#SBATCH --mail-type=ALL
#SBATCH --open-mode=append
#SBATCH --requeue
#SBATCH --signal=B:TERM@300

# Drop-in for the old upload_manifest.sh; the same call does the same with ctstate:
#
#   sbatch --export=SITE=SER,SEASON=SER_S1,PROJECT_ID=593,BATCH=batch_1 upload_manifest.sh
#   sbatch --export=SITE=SER,SEASON=SER_S1,PROJECT_ID=593,BATCH=batch_1,SUBJECT_SET_ID=111038 upload_manifest.sh
#
# `ctstate submit --legacy-script > upload_manifest.sh` prints it with the three defaults below filled in. Further
# variables that --export may set: CTSTATE_LEDGER, PASSWORD_FILE, IMAGE_ROOT_PATH, LOG_DIR, PANOPTES_ENDPOINT, PYTHON.
# Add account, partition, mail address and cores to the sbatch call or above. To resume, call it again: without
# SUBJECT_SET_ID it goes on with the batch's own subject set. Several of these jobs on one batch share the work.
# A capture is uploaded once, however often this is called; no tracker file is kept.

DEFAULT_PYTHON=python3
DEFAULT_CTSTATE_LEDGER=ctstate.db
DEFAULT_CTSTATE_HOME=

for name in SEASON PROJECT_ID BATCH; do
    if [ -z "${!name}" ]; then
        echo "upload_manifest.sh: $name is not set; call it with sbatch --export=SITE=..,SEASON=..,PROJECT_ID=..,BATCH=.." >&2
        exit 2
    fi
done

home=${CTSTATE_HOME:-$DEFAULT_CTSTATE_HOME}
if [ -n "$home" ]; then
    export PYTHONPATH="$home${PYTHONPATH:+:$PYTHONPATH}"
fi
export PYTHONUNBUFFERED=1

password_file=${PASSWORD_FILE:-~/keys/passwords.ini}
arguments=(--season "$SEASON" --project-id "$PROJECT_ID" --batch "$BATCH")
[ -n "$SUBJECT_SET_ID" ] && arguments+=(--subject-set-id "$SUBJECT_SET_ID")
[ -e "$password_file" ] && arguments+=(--password-file "$password_file")
[ -n "$IMAGE_ROOT_PATH" ] && arguments+=(--image-root-path "$IMAGE_ROOT_PATH")
[ -n "$LOG_DIR" ] && arguments+=(--log-dir "$LOG_DIR" --log-filename "${SEASON}_upload_manifest")

# exec: the signal that comes before the wall time ends must reach ctstate, which then stops cleanly (exit code 75).
exec "${PYTHON:-$DEFAULT_PYTHON}" -m ctstate --ledger "${CTSTATE_LEDGER:-$DEFAULT_CTSTATE_LEDGER}" upload "${arguments[@]}"
