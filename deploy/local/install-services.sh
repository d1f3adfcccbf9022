#!/usr/bin/env bash
# Installs what tests need and pip cannot give: Chromium, for the pages.
# Where it may not install, it says what to do; the tests then skip loudly, or fail where CI=true.
set -euo pipefail

for browser in chromium chromium-browser google-chrome; do
    if command -v "$browser" >/dev/null; then
        exit 0
    fi
done

if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
    echo "Chromium is missing and cannot be installed from here: install the package 'chromium' to run tests/browser." >&2
    exit 0
fi

echo "Installing Chromium for tests/browser." >&2
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends chromium >/dev/null
