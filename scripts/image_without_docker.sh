#!/usr/bin/env bash
# Build the Dockerfile where there is no Docker and no registry of images: buildah, on a Debian 12 made by debootstrap in
# place of python:3.13-slim (so with Debian's Python 3.11), then run the demo in it. Proves that the steps work and that
# the image starts as user 10001; the image itself is not the one to ship.
#
#   apt-get install --no-install-recommends buildah debootstrap
#   sudo scripts/image_without_docker.sh [folder]         # some 4 GB in the folder, some ten minutes
set -euo pipefail
cd "$(dirname "$0")/.."
place=${1:-/tmp/clearyear-image}
export STORAGE_DRIVER=vfs BUILDAH_ISOLATION=chroot
builder() { buildah --root "$place/store" --runroot "$place/run" "$@"; }

mkdir -p "$place"
if [ ! -e "$place/root/usr/bin/pip" ]; then
  debootstrap --variant=minbase --include=python3,python3-venv,python3-pip,ca-certificates bookworm "$place/root"
  ln -sf python3 "$place/root/usr/bin/python"
  rm -f "$place"/root/usr/lib/python3*/EXTERNALLY-MANAGED # the official images have no such mark
fi
base=$(builder from scratch)
builder add --quiet "$base" "$place/root" /
builder commit --quiet "$base" localhost/python-base:latest
builder rm "$base"

builder bud --network host --layers=false --build-arg PYTHON_IMAGE=localhost/python-base:latest \
  --volume /etc/ssl/certs:/etc/ssl/certs:ro --volume /etc/resolv.conf:/etc/resolv.conf:ro \
  --tag localhost/clearyear:here .

trial=$(builder from localhost/clearyear:here)
# shellcheck disable=SC2016  # for the shell in the container
builder run "$trial" -- sh -ec 'test "$(id -u)" = 10001; clearyear --version; cd /tmp; clearyear demo --out demo; prefect version'
builder rm "$trial"
