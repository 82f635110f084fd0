# shellcheck shell=bash
# DevStack plugin enos_crdb: what it does in which phase. DevStack sources this file with the phase as arguments.

case "$1:${2:-}" in
    stack:pre-install)
        enos_crdb_check
        enos_crdb_constrain
        enos_crdb_forget_site
        ;;
    stack:install)
        # Keystone is installed and DevStack has written its configuration; db_sync comes next. The sections
        # [[post-config|...]] of local.conf would come after it, when Keystone runs already.
        echo_summary "enos_crdb: preparing Keystone for $DATABASE_TYPE ($ENOS_CRDB_MODE)"
        enos_crdb_install
        enos_crdb_configure
        ;;
    clean:*)
        enos_crdb_clean
        ;;
esac
