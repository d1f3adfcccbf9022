#!/usr/bin/env bash
# Prints the folder with Apache Kafka's jars; fetches them once, by Maven, into the user's cache.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
version=$(sed -n 's:.*<kafka.version>\(.*\)</kafka.version>.*:\1:p' "$here/pom.xml")
jars="${XDG_CACHE_HOME:-$HOME/.cache}/triadline/kafka-$version"

for tool in java mvn; do
    command -v "$tool" >/dev/null || { echo "$tool is not installed (Debian: openjdk-17-jre-headless, maven)" >&2; exit 1; }
done
if [ ! -e "$jars/complete" ]; then
    echo "Fetching Apache Kafka $version by Maven, once: about 60 MB." >&2
    # A folder of our own until all is there: two test runs may fetch at once, and either may be stopped.
    mkdir -p "$(dirname "$jars")"
    fetched=$(mktemp -d "$jars.XXXXXX")
    trap 'rm -rf "$fetched"' EXIT
    mvn -q -B -f "$here/pom.xml" dependency:copy-dependencies -DoutputDirectory="$fetched" >&2
    touch "$fetched/complete"
    chmod 755 "$fetched"
    mv -T "$fetched" "$jars" 2>/dev/null || [ -e "$jars/complete" ]
fi
echo "$jars"
