#!/bin/bash
# Starts Redis as the official image does: `redis-server [/path/to.conf] [--option value]`, data in /data. As root it
# hands /data to uid 999 and goes on as that user.
set -euo pipefail

[[ ${1-} != -* && ${1-} != *.conf ]] || set -- redis-server "$@"
if [[ $1 == redis-server ]]; then
  # The official image is compiled without protected mode, because in a container the network decides who gets in.
  # It comes first so that the caller's own options win; a configuration file has to say it itself.
  [[ ${2-} == [!-]* ]] || set -- redis-server --protected-mode no "${@:2}"
  if [[ $(id -u) == 0 ]]; then
    find . \! -user 999 -exec chown 999:999 {} +
    exec setpriv --reuid=999 --regid=999 --clear-groups -- "$0" "$@"
  fi
  umask 0077
fi
exec "$@"
