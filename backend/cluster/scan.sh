# Tells of every PostgreSQL server of this host. It only reads, and judges nothing.
#
#     sh -c "$(cat scan.sh)" sh CONFROOT BIN PATTERN...
#
# CONFROOT is where postgresql-common keeps its configuration, empty for the usual place; BIN a folder of
# programs for the data folders that match the patterns, or empty. The answer is a flat list of names and
# values, each ended by a zero byte, since paths may hold anything else.

confroot=$1 bin=$2; shift 2
newline='
'
b='[[:space:]]'
seen=$newline
known_uid= known_bin=
put() { printf '%s\0%s\0' "$1" "$2"; }
# Each program that is started costs a millisecond or more, so that the shell does itself what it can; its `read`
# drops zero bytes.
text() {
    printf '%s\0' "$1"
    while IFS= read -r line || [ "$line" ]; do printf '%s\n' "$line"; done <"$2"
    printf '\0'
}
configuration() {
    [ -r "$1" ] || { [ "$me" = 0 ] || put unreadable "$1"; return; }
    [ "$2" -lt 8 ] || return
    put file "$1"
    content=$(sed 's/^[[:space:]]*#.*//' "$1" 2>/dev/null)
    put text "$content"
    case $content in *include*) ;; *) return ;; esac
    printf '%s\n' "$content" |
    sed -n "s/^$b*\(include[a-z_]*\)$b*=\{0,1\}$b*'\{0,1\}\([^'#]*[^'#[:space:]]\).*/\1 \2/p" |
    while read -r how what; do
        case $what in /*) ;; *) what=${1%/*}/$what ;; esac
        case $how in
            include_dir)
                for each in "$what"/*.conf; do
                    [ ! -e "$each" ] || configuration "$each" $(($2 + 1))
                done
                ;;
            include) configuration "$what" $(($2 + 1)) ;;
            include_if_exists) [ ! -e "$what" ] || configuration "$what" $(($2 + 1)) ;;
        esac
    done
}
# Another account's programs run with that account's rights, never with those of root.
as_owner() {
    if [ "$me" != 0 ]; then
        [ "$uid" = "$me" ] || [ "$(ls -nLd -- "$1" | { read -r _ _ by _; echo "$by"; })" = 0 ] || return 1
        "$@"
    elif [ "$uid" != 0 ] && command -v setpriv >/dev/null 2>&1; then
        setpriv --reuid="$uid" --regid="$gid" --clear-groups "$@"
    else
        return 1
    fi
}
programs() {
    for each in "$1" "$2" "/usr/lib/postgresql/$major/bin" "/usr/pgsql-$major/bin" "/usr/lib/pgsql/bin"; do
        [ -z "$each" ] || [ ! -x "$each/postgres" ] || { echo "$each"; return; }
    done
    found=$(command -v postgres) && echo "${found%/*}"
}
folder() {
    real=$(cd -P -- "$1" 2>/dev/null && pwd -P) || real=${1%/}
    case $seen in *"$newline$real$newline"*) return ;; esac
    seen=$seen$real$newline
    put cluster "$real"
    put given "$1"
    put conf "$2"
    about=$(ls -nLd -- "$real" 2>/dev/null) || { put absent yes; return; }
    # What root cannot read is not there, or not yet.
    [ "$me" != 0 ] || [ -r "$real/PG_VERSION" ] || { put absent yes; return; }
    read -r mode _ uid gid _ <<END
$about
END
    put mode "$mode"; put uid "$uid"
    if [ "$uid" != "$known_uid" ]; then
        known_uid=$uid owner=$(ls -lLd -- "$real" | { read -r _ _ by _; echo "$by"; })
    fi
    put owner "$owner"
    major=$3
    if [ -r "$real/PG_VERSION" ]; then
        read -r major <"$real/PG_VERSION"
        put readable yes
        put major "$major"
        for each in postmaster.pid postmaster.opts current_logfiles; do
            [ ! -r "$real/$each" ] || text "$each" "$real/$each"
        done
        for each in standby.signal recovery.signal patroni.dynamic.json postgresql-auto-failover.conf; do
            [ ! -e "$real/$each" ] || put has "$each"
        done
        if [ -L "$real/pg_wal" ]; then put wal "$(cd -P -- "$real/pg_wal" 2>/dev/null && pwd -P)"; fi
        for each in "$real"/pg_tblspc/*; do
            [ ! -L "$each" ] || put tablespace "$(cd -P -- "$each" 2>/dev/null && pwd -P)"
        done
    fi
    options=; { read -r options <"$real/postmaster.opts"; } 2>/dev/null
    # Its first word is the program, in quotes or not; quotes are around all others.
    started=${options#\"}; started=${started%%\"*}
    from=$(programs "$4" "${started%/post*}")
    put bin "$from"
    if [ "$from" ]; then
        if [ "$from" != "$known_bin" ]; then
            known_bin=$from installed=$(as_owner "$from/postgres" -V 2>/dev/null)
        fi
        put installed "$installed"
        [ ! -r "$real/global/pg_control" ] || put control "$(as_owner "$from/pg_controldata" "$real" 2>/dev/null)"
    fi
    main=$2
    if [ -z "$main" ]; then
        case $options in *config[-_]file=*) main=${options##*config[-_]file=}; main=${main%%\"*} ;; esac
    fi
    [ "$main" ] || [ ! -r "$real/PG_VERSION" ] || main=$real/postgresql.conf
    put main "$main"
    [ -z "$main" ] || configuration "$main" 0
    [ ! -r "$real/postgresql.auto.conf" ] || configuration "$real/postgresql.auto.conf" 0
}
me=$(id -u)
put user "$(id -un)"
put now "$(date +%s)"
[ ! -d /run/systemd/system ] || put systemd yes
[ ! -d /run/secrets/kubernetes.io ] || put kubernetes yes
[ ! -r /proc/self/stat ] || { put ticks "$(getconf CLK_TCK)"; put boot "$(sed -n 's/^btime //p' /proc/stat)"; }
for each in "${confroot:=${PG_CLUSTER_CONF_ROOT:-/etc/postgresql}}"/*/*/postgresql.conf; do
    [ -e "$each" ] || continue
    at=${each%/*}
    put debian "$at"
    [ ! -r "$at/start.conf" ] || text start "$at/start.conf"
    [ ! -e "$at/log" ] || put log "$(readlink -f -- "$at/log")"
    data=$(sed -n "s/^$b*data_directory$b*=\{0,1\}$b*'\(.*\)'.*/\1/p" "$each" | tail -n 1)
    version=${at%/*}
    [ -z "$data" ] || folder "$data" "$each" "${version##*/}" ''
done
put debian ''
# What a container runs has paths of its own; a server that systemd shields does not.
around=$(readlink /proc/self/ns/pid 2>/dev/null)
contained=0
for process in /proc/[0-9]*; do
    { read -r comm <"$process/comm"; } 2>/dev/null || continue
    case $comm in postgres | postmaster) ;; *) continue ;; esac
    title=; { read -r title <"$process/cmdline"; } 2>/dev/null
    case $title in '' | 'postgres: '*) continue ;; esac
    inside=$(readlink "$process/ns/pid" 2>/dev/null)
    [ "${inside:-$around}" = "$around" ] || { contained=$((contained + 1)); continue; }
    put process "${process##*/}"
    { read -r stat <"$process/stat"; } 2>/dev/null || continue
    put stat "$stat"
    at=$(readlink "$process/cwd" 2>/dev/null)
    put cwd "$at"
    [ -n "$at" ] || put owner "$(ls -ld -- "$process" 2>/dev/null | { read -r _ _ by _; echo "$by"; })"
    exe=$(readlink "$process/exe" 2>/dev/null)
    put exe "$exe"
    put stderr "$(readlink "$process/fd/2" 2>/dev/null)"
    printf 'args\0'; tr '\0' '\1' <"$process/cmdline" 2>/dev/null; printf '\0'
    [ ! -r "$process/cgroup" ] || text cgroup "$process/cgroup"
    rest=${stat##*) }
    read -r _ parent _ <<END
$rest
END
    { read -r comm <"/proc/$parent/comm"; } 2>/dev/null && put parent "$comm"
    [ -n "$at" ] || at=$(tr '\0' '\n' <"$process/cmdline" 2>/dev/null | sed -n -e '/^-D$/{n;p;q;}' -e '/^-D\//{s/^-D//p;q;}')
    # In the root folder is only what is about to become a server, or to end.
    case $at in /?*) ;; *) continue ;; esac
    folder "$at" '' '' "${exe%/*}"
done
put contained "$contained"
# Only patterns become paths here, a blank parts nothing.
matching() {
    IFS=
    for each in $1; do
        unset IFS
        [ ! -e "$each/PG_VERSION" ] && [ ! -d "$each/base" ] || folder "$each" '' '' "$2"
    done
    unset IFS
}
for pattern; do
    matching "$pattern" "$bin"
done
# Servers that are down lie beside others, where nothing else tells of them.
beside=$(
    set -f
    IFS=$newline
    for each in $seen; do
        case $each in
            */data | */pgdata) above=${each%/*} && echo "${above%/*}/*/${each##*/}" ;;
            /*/*) echo "${each%/*}/*" ;;
        esac
    done | sort -u
)
while IFS= read -r pattern; do
    [ -z "$pattern" ] || matching "$pattern" ''
done <<END
$beside
END
[ -d /run/systemd/system ] || exit 0
put units "$(systemctl show --no-pager 'postgresql*.service' postgresql.service \
    -p Id,LoadState,ActiveState,SubState,UnitFileState,MainPID,Environment 2>/dev/null)"
put files "$(systemctl list-unit-files --no-legend --no-pager 'postgresql*.service' 2>/dev/null)"
:
