#!/usr/bin/env bash
# Installs what tests and the local stack need and pip cannot give: Chromium, Redis, RabbitMQ, kcat, promtool,
# Java and Maven (for Kafka's jars). Where it may not install, it says what to do; the tests then skip loudly,
# or fail where CI=true.
set -euo pipefail

missing=()
need() { # need COMMAND PACKAGE
    command -v "$1" >/dev/null || missing+=("$2")
}

command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null || need chromium chromium
need redis-server redis-server
need kcat kcat
need rabbitmq-server rabbitmq-server
need promtool prometheus
need java openjdk-17-jre-headless
need mvn maven

[ "${#missing[@]}" -gt 0 ] || exit 0

if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
    echo "Missing, and cannot be installed from here: ${missing[*]}. Install these packages to run all tests." >&2
    exit 0
fi

echo "Installing for the tests: ${missing[*]}." >&2
export DEBIAN_FRONTEND=noninteractive
# A package may start a server of its own at once; the tests and the stack start theirs, on their own ports.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod +x "$policy"
    trap 'rm -f "$policy"' EXIT
fi
apt-get update -qq
apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
