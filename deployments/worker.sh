#!/bin/sh
# One worker: waits for the server, makes its pool, and (the cpu one) deploys, before it takes runs: worker.sh POOL
set -eu
pool=$1
prefect() { "$PYTHON" -m prefect --no-prompt "$@"; }

# TVAE_LOGS=json: one JSON object a line, with the stage and how far it is.
if [ "${TVAE_LOGS:-}" = json ]; then
    export PREFECT_LOGGING_HANDLERS_CONSOLE_FORMATTER=json PREFECT_LOGGING_COLORS=false
fi

tries=0
until "$PYTHON" -c "import urllib.request as r, os; r.urlopen(os.environ['PREFECT_API_URL'] + '/health', timeout=2)" 2>/dev/null; do
    tries=$((tries + 1))
    if [ "$tries" -ge 120 ]; then
        echo "the server at $PREFECT_API_URL did not answer within two minutes" >&2
        exit 1
    fi
    sleep 1
done

prefect work-pool create "$pool" --type process --overwrite >/dev/null
if [ "$pool" = gpu ]; then
    # One training at a time: a card holds one.
    prefect work-pool set-concurrency-limit gpu 1 >/dev/null
else
    # Deploying needs both pools.
    until prefect work-pool inspect gpu >/dev/null 2>&1; do sleep 1; done
    prefect deploy --all --prefect-file deployments/prefect.yaml >/dev/null
    "$PYTHON" -m flows.cli deploy "${TVAE_DATASETS:-configs/datasets}"
    echo "ready: ${PREFECT_API_URL%/api}  (run it: prefect deployment run synthesize/cpu --watch)"
fi
exec "$PYTHON" -m prefect worker start --pool "$pool" --limit "$([ "$pool" = gpu ] && echo 1 || echo 4)"
