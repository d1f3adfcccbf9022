#!/usr/bin/env bash
# Runs one Kafka broker in the foreground, with its data in FOLDER; what the folder holds is kept.
#   run.sh FOLDER PORT CONTROLLER_PORT [NAME=VALUE...]
set -euo pipefail

[ $# -ge 3 ] || { echo "usage: run.sh FOLDER PORT CONTROLLER_PORT [NAME=VALUE...]" >&2; exit 2; }
folder=$1 port=$2 controller_port=$3
shift 3

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
jars=$("$here/fetch.sh")
mkdir -p "$folder"
{
    sed -e "s|@PORT@|$port|; s|@CONTROLLER_PORT@|$controller_port|; s|@FOLDER@|$folder|" "$here/server.properties"
    [ $# -eq 0 ] || printf '%s\n' "$@"
} >"$folder/server.properties"

# Small and quick to start: it shares the machine with all that it is there for.
java=(java -Xms64m -Xmx384m -XX:+UseSerialGC -XX:TieredStopAtLevel=1
    -Dorg.slf4j.simpleLogger.defaultLogLevel=warn -cp "$jars/*")
if [ ! -e "$folder/log/meta.properties" ]; then
    "${java[@]}" kafka.tools.StorageTool format -t triadline-local-kafka1 -c "$folder/server.properties" >&2
fi
exec "${java[@]}" kafka.Kafka "$folder/server.properties"
