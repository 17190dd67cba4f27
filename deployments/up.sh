#!/bin/sh
# Brings server, pools, workers and deployments up on this machine, and everything down with it: ./up.sh PORT
# honcho runs the processes of ./Procfile and stops all of them when one ends.
set -eu
port=${1:-4200}
: "${TVAE_HOME:?the repository root}" "${PYTHON:?the interpreter of the environment}"
state=${TVAE_STATE:-$TVAE_HOME/var}
mkdir -p "$state/prefect"

export TVAE_HOME PYTHON
export PREFECT_HOME="$state/prefect"
export PREFECT_API_URL="http://127.0.0.1:$port/api"
# The port goes by its variable: `prefect server start --port` would leave the UI calling 4200.
export PREFECT_SERVER_API_PORT="$port"
export PREFECT_WORKER_QUERY_SECONDS=2
export PREFECT_SERVER_ANALYTICS_ENABLED=false DO_NOT_TRACK=1
export PREFECT_SERVER_DATABASE_TIMEOUT=60        # seconds that SQLite is waited for on a busy machine
export PREFECT_SERVER_UI_V2_ENABLED=false        # the second one calls a statistics service from the browser

# Whoever reaches the server can run code on its workers: it listens to this machine alone unless told otherwise.
export TVAE_HOST="${TVAE_HOST:-127.0.0.1}"

cd "$TVAE_HOME"
exec "$PYTHON" -m honcho start --no-colour --procfile deployments/Procfile
