# shellcheck shell=bash disable=SC2034,SC2329
# A double of DevStack: what a plugin may count on, and nothing that installs anything.
#
#     recorder.sh stack|unstack|clean
#
# It calls the steps of stack.sh, unstack.sh and clean.sh in their order, sources the plugin when they do, and writes a
# line into $RECORD for each step, each function of DevStack that is called and each program that is started.
# test_contract.py compares its names and their order with a real DevStack. $ROOT holds what would be the host's.

set -o errexit
script=$1

function record {
    local xtrace
    xtrace=$(set +o | grep xtrace)
    set +o xtrace
    echo "$*" >> "$RECORD"
    $xtrace
}

# A step of the script, then the function of that name.
function step {
    record "step $1"
    "$@"
}

# --- functions that plugins may call ---
function define_plugin { record "call define_plugin $*"; }
function echo_summary { record "call echo_summary $*"; }
function is_service_enabled { [[ ,$ENABLED_SERVICES, == *,$1,* || ,$ENABLED_SERVICES, == *,key,* && $1 == keystone ]]; }
function pip_install { record "call pip_install $*"; }
function apache_site_config_for { echo "$ROOT/apache/$1.conf"; }
function disable_apache_site { record "call disable_apache_site $*"; }
function time_start { :; }
function time_stop { :; }
function async_run { record "call async_run $*"; }
function async_wait { record "call async_wait $*"; }
function trueorfalse {
    local value=${!2}
    case ${value:-$1} in
        [Tt]rue | [Yy]es | 1) echo True ;;
        *) echo False ;;
    esac
}
function die {
    set +o xtrace
    record "call die ${*:2}"
    echo "ERROR: ${*:2}" >&2
    exit 1
}

# --- local.conf ---
function disable_all_services { ENABLED_SERVICES=""; }
function enable_service {
    local service
    for service in "$@"; do ENABLED_SERVICES+=",$service"; done
}
function enable_plugin { PLUGIN=$DEST/$1/devstack; }
function read_localrc {
    DEST=$ROOT/opt/stack DATA_DIR=$ROOT/opt/stack/data SYSTEMD_DIR=$ROOT/systemd SERVICE_HOST=192.0.2.10
    REQUIREMENTS_DIR=$DEST/requirements ENABLED_SERVICES="key,mysql" REGION_NAME=RegionOne DATABASE_TYPE=""
    # shellcheck source=/dev/null
    source "$ROOT/localrc"
}

# --- lib/database ---
function lib_database {
    DATABASE_BACKENDS=""
    register_database mysql
    register_database postgresql
    local type
    for type in $DATABASE_BACKENDS; do
        if is_service_enabled "$type"; then DATABASE_TYPE=$type; fi
    done
}
function register_database { DATABASE_BACKENDS+=" $1"; }
function get_database_type_mysql { echo mysql+pymysql; }
function cleanup_database_mysql { record "step purge the packages of MySQL"; }
function cleanup_database_postgresql { record "step purge the packages of PostgreSQL"; }
function initialize_database_backends {
    local type
    for type in $DATABASE_BACKENDS; do
        if is_service_enabled "$type"; then DATABASE_TYPE=$type; fi
    done
    [[ -n "$DATABASE_TYPE" ]]
}
function define_database_baseurl { BASE_SQL_CONN=$("get_database_type_$DATABASE_TYPE")://root:unused@127.0.0.1; }
function install_database { "install_database_$DATABASE_TYPE"; }
function install_database_python { "install_database_python_$DATABASE_TYPE"; }
function configure_database { "configure_database_$DATABASE_TYPE"; }
function recreate_database { record "call recreate_database $*" && "recreate_database_$DATABASE_TYPE" "$1"; }
function database_connection_url { "database_connection_url_$DATABASE_TYPE" "$1"; }
function cleanup_database { "cleanup_database_$DATABASE_TYPE"; }

# --- lib/keystone ---
function lib_keystone {
    KEYSTONE_CONF_DIR=$ROOT/etc/keystone
    KEYSTONE_CONF=$KEYSTONE_CONF_DIR/keystone.conf
    KEYSTONE_PUBLIC_UWSGI_CONF=$KEYSTONE_CONF_DIR/keystone-uwsgi-public.ini
    KEYSTONE_BIN_DIR=$DATA_DIR/venv/bin
    KEYSTONE_SERVICE_URI_V3=http://$SERVICE_HOST/identity/v3
    if [[ "$WITHOUT" != init_keystone ]]; then
        function init_keystone { record "stock init_keystone"; }
    fi
    function bootstrap_keystone { record "stock bootstrap_keystone"; }
    function create_keystone_accounts { record "stock create_keystone_accounts"; }
}
function install_keystone { :; }
function configure_keystone {
    mkdir -p "$KEYSTONE_CONF_DIR" "$ROOT/apache"
    cat > "$KEYSTONE_CONF" <<END
[DEFAULT]
max_token_size = 16384
public_endpoint = http://$SERVICE_HOST/identity

[database]
connection = $(database_connection_url keystone)

[identity]
driver = sql
password_hash_rounds = 12
END
    cat > "$KEYSTONE_PUBLIC_UWSGI_CONF" <<END
[uwsgi]
processes = 2
hook-master-start = unix_signal:15 gracefully_kill_them_all
start-time = %t
END
    echo "ProxyPass /identity" >> "$(apache_site_config_for keystone-api)"
}
function start_keystone { :; }
function stop_keystone { :; }
function cleanup_keystone { disable_apache_site keystone-wsgi-public; }

function load_plugin_settings {
    # shellcheck source=/dev/null
    source "$PLUGIN/settings"
}
function run_phase {
    record "phase $*"
    # shellcheck source=/dev/null
    source "$PLUGIN/plugin.sh" "$@"
}

function stack {
    step lib_database
    step lib_keystone
    step load_plugin_settings
    step initialize_database_backends
    step define_database_baseurl
    run_phase stack pre-install
    step install_database
    step install_database_python
    step install_keystone
    step configure_keystone
    run_phase stack install
    step configure_database
    step init_keystone
    step start_keystone
    step bootstrap_keystone
    step create_keystone_accounts
    run_phase stack post-config
    run_phase stack extra
    run_phase stack test-config
    record "step stack.sh completed"
}

function unstack {
    step lib_database
    step lib_keystone
    step load_plugin_settings
    run_phase unstack
    step stop_keystone
}

function clean {
    set +o errexit # as the real one, which goes on whatever fails
    step lib_database
    step lib_keystone
    step load_plugin_settings
    run_phase clean
    step cleanup_keystone
    step cleanup_database
    record "step clean.sh completed"
}

read_localrc
set -o xtrace
"$script"
