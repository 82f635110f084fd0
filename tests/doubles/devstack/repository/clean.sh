#!/bin/bash
# A fake. See tests/doubles/devstack.
TOP=$(cd "$(dirname "$0")" && pwd)
"$TOP/unstack.sh"
source "$TOP/fake_localrc"
echo "clean" >> "$DEST/fake/calls"
sudo rm -rf /etc/systemd/system/devstack@keystone.service /etc/keystone "$DEST/data"
sudo systemctl daemon-reload
