# shellcheck shell=bash
# What the scripts of real servers share. Each sets `name`, its file; `here`, its folder; and `dir`, where the data of
# the server and its process id are. Each has `start` and `stop`.

say() { echo "$name: $*" >&2; }
die() {
    say "$*"
    exit 1
}

# Whether something listens at port $1.
listening() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

alive() { [[ -s $dir/pid ]] && kill -0 "$(<"$dir/pid")" 2>/dev/null; }

gone() { ! alive; }

# Until "$@" succeeds, at most $1 tenths of a second.
within() {
    local left=$1
    shift
    until "$@"; do
        ((left-- > 0)) || return 1
        sleep 0.1
    done
}

# Starts the server, runs "$@", and stops the server whatever happens. The exit status is that of "$@".
beside() {
    trap stop EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    start
    local status=0
    "$@" || status=$?
    exit "$status"
}

# The comment at the beginning of the script.
usage() {
    sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$here/$name" >&2
    exit 2
}
