# sh -s FLAVOUR: leave a data directory that was initialised, and that no other flavour has used.
set -eu
flavour=$1
data=/var/lib/mysql
mark=/var/lib/enos_crdb/mariadb.flavour

before=$(cat "$mark" 2>/dev/null || true)
if [ "$before" = "$flavour" ] && [ -d "$data/mysql" ]; then
    exit 0
fi
systemctl stop mariadb
# Without a mark it is the one the package made, which was never used.
if [ -n "$before" ] || [ ! -d "$data/mysql" ]; then
    rm -rf "$data"
    install -d -o mysql -g mysql -m 0755 "$data"
    mariadb-install-db --rpm --cross-bootstrap --user=mysql --skip-test-db --disable-log-bin >/dev/null </dev/null
fi
install -d -m 0755 "$(dirname "$mark")"
printf '%s\n' "$flavour" >"$mark"
echo "made a data directory for $flavour"
