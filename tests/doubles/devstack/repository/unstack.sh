#!/bin/bash
# A fake. See tests/doubles/devstack.
TOP=$(cd "$(dirname "$0")" && pwd)
source "$TOP/fake_localrc"
echo "unstack" >> "$DEST/fake/calls"
sudo systemctl disable --quiet --now devstack@keystone
