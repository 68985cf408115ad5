#!/bin/sh
# Keeps the cached features fresh: brings the feature tables up to date and materializes, every REFRESH_SECONDS; with 0 once. The first run
# makes what the example needs: a click log, Feast's registry, a model. A run that fails is told and tried again; what is served stays as it was.
set -eu
: "${REFRESH_SECONDS:=600}" "${LOCKSTEP_HOME:?name the folder that holds the project}"
: "${MATERIALIZE_FROM=2017-11-01T00:00:00}" # the example's clicks are old; a log that goes on needs no start: set it to nothing
case $REFRESH_SECONDS in *[!0-9]*) echo "job: REFRESH_SECONDS is '$REFRESH_SECONDS'; expected whole seconds" >&2; exit 2 ;; esac
trap 'exit 0' TERM INT # a shell that is a container's first process ignores them otherwise

applied=
apply() { # once: definitions change with the image
  [ "$applied" ] || lockstep feast apply && applied=yes
}

materialize() {
  now=$(date -u +%Y-%m-%dT%H:%M:%S)
  if [ "$MATERIALIZE_FROM" ]; then
    lockstep feast materialize "$MATERIALIZE_FROM" "$now"
  else
    lockstep feast materialize-incremental "$now"
  fi
}

refresh() { # step by step: the shell forgets `set -e` in a function whose failure is looked at
  { [ -e "$LOCKSTEP_HOME/events" ] || lockstep events generate; } &&
    lockstep features build &&
    apply &&
    materialize &&
    { [ -e "$LOCKSTEP_HOME/models/install/aliases/champion.json" ] || lockstep train install; }
}

while :; do
  refresh && failed=0 || failed=1
  [ "$REFRESH_SECONDS" -gt 0 ] || exit "$failed"
  [ "$failed" = 0 ] || echo "job: this run failed; the next one follows in $REFRESH_SECONDS s" >&2
  sleep "$REFRESH_SECONDS" & # in the background: the trap is not kept waiting
  wait $!
done
