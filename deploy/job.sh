#!/bin/sh
# Keeps the cached features fresh: brings the feature tables up to date and materializes, every REFRESH_SECONDS. The first run makes what the
# example needs: a click log, the tables, a model. A run that fails is told and tried again; what is served stays as it was.
set -eu
: "${REFRESH_SECONDS:=600}"

begin() {
  [ -e "$LOCKSTEP_HOME/events" ] || lockstep events generate
  lockstep features build
  lockstep feast apply
  [ -e "$LOCKSTEP_HOME/models/install" ] || lockstep train install
}

refresh() {
  lockstep features build && lockstep feast materialize "${MATERIALIZE_FROM:-2017-11-01T00:00:00}" "$(date -u +%Y-%m-%dT%H:%M:%S)"
}

begin
while :; do
  refresh || echo "job: this run failed; the next one follows in $REFRESH_SECONDS s" >&2
  [ "$REFRESH_SECONDS" -gt 0 ] || exit 0
  sleep "$REFRESH_SECONDS"
done
