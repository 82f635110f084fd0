#!/bin/bash
# A fake: it installs nothing. See tests/doubles/devstack.
set -o errexit
TOP=$(cd "$(dirname "$0")" && pwd)
[[ $EUID -ne 0 ]] || { echo "not as root"; exit 1; }
source "$TOP/fake_localrc"

mkdir -p "$DEST/fake" "${LOGFILE%/*}"
runs=$(find "$DEST/fake" -name 'local.conf.*' | wc -l)
cp "$TOP/local.conf" "$DEST/fake/local.conf.$((runs + 1))"
echo "run OFFLINE=$OFFLINE" >> "$DEST/fake/calls"
touch "$TOP/.localrc.auto"

log=$LOGFILE.$(date +%F-%H%M%S)
ln -sf "$log" "$LOGFILE"
ln -sf "$log.summary" "$LOGFILE.summary"
stamp() { while read -r line; do echo "$(date -u '+%F %T.000') | $line"; done; }
exec 3>&1 6>> "$log.summary"
exec >> "$log" 2>&1
say() { echo "$*" | stamp >&6; }

say "stack.sh log $log"
say "Installing package prerequisites"
sleep "${FAKE_SLEEP:-0}"
if [[ -n "$FAKE_FAIL" ]]; then
    {
        echo "+ functions-common:install : pip install keystone"
        echo "+ functions-common:install : some command with $ADMIN_PASSWORD"
        printf '\033[31mERROR: No matching distribution found for oslo.fake\033[0m\n'
        echo "+ stack.sh:exit_trap"
        echo "Error on exit"
        for number in $(seq 2000); do echo "World dumped: line $number"; done
    } | stamp
    exit 1
fi
for file in devstack/settings devstack/plugin.sh; do
    [[ -r "$DEST/enos_crdb/$file" ]] || { echo "ERROR: no plugin" | stamp; exit 1; }
done
[[ -r "$ENOS_CRDB_FILES/keystone.conf" && -r "$ENOS_CRDB_FILES/private/fernet-keys/0" ]]
sudo install -d -o stack /etc/keystone
cp "$ENOS_CRDB_FILES/keystone.conf" /etc/keystone/keystone.conf

if [[ "$ENOS_CRDB_MODE" == join ]]; then
    say "Waiting for the other Keystone"
    for endpoint in $ENOS_CRDB_ENDPOINTS; do
        [[ "${endpoint%%=*}" == "$REGION_NAME" ]] && continue
        until python3 "$TOP/fake_keystone.py" ask "${endpoint#*=}"; do sleep 0.2; done
        break
    done
fi

say "Starting Keystone"
for unit in apache2 devstack@keystone; do
    sudo tee "/etc/systemd/system/$unit.service" > /dev/null <<UNIT
[Service]
ExecStart=$([[ $unit == apache2 ]] && echo "/bin/sleep infinity" || echo "/usr/bin/python3 $TOP/fake_keystone.py serve")
[Install]
WantedBy=multi-user.target
UNIT
done
sudo systemctl daemon-reload
sudo systemctl enable --quiet apache2 devstack@keystone
sudo systemctl restart apache2 devstack@keystone
until python3 "$TOP/fake_keystone.py" ask http://127.0.0.1/identity/v3; do sleep 0.2; done
say "stack.sh completed in $SECONDS seconds."
