#!/bin/sh
# Installs the Rollcall agent on this host, or upgrades it. As root:
#
#   curl -fsSL @SUITE@/install.sh | sh
#
# It asks for an enrolment token unless the host has enrolled already. From the environment, all of it optional:
#
#   ROLLCALL_TOKEN_FILE  a file that holds the token; or the token itself as ROLLCALL_TOKEN, but not by `sudo NAME=…`,
#                        since other users of a host see command lines
#   ROLLCALL_URL         where to report, comma-separated, instead of @SUITE@
#   ROLLCALL_ENROL_URL   where to enrol and to fetch the agent, instead of the first of ROLLCALL_URL
#   ROLLCALL_NAME        the name under which to enrol, instead of the hostname
#   ROLLCALL_INTERVAL    seconds between samples, instead of 30
#   ROLLCALL_PROCESSES   how much to tell of what runs on this host: full, basic or off; full unless set
#   ROLLCALL_ALLOW       which orders of the suite are carried out here, as lines of hand.conf with ; between: none unless
#                        set. 'signals = term,kill; executables = /srv/*; users = 1000-60000; units = shop.service' lets people
#                        end processes of these users that run files below /srv, and control that unit
#   ROLLCALL_CA_FILE     certificate authorities in PEM to trust besides the system's; it is copied
#   ROLLCALL_WATCH_FILE  a channel in JSON on which this host may tell that the suite is away; it is copied
#   ROLLCALL_WATCH_ALLOW internal targets that it may lead to
#   DESTDIR              puts everything below this folder, makes no user and starts nothing: for images and packages
set -eu

suite='@SUITE@'
# Each architecture that the suite offers, and the SHA-256 of its agent.
checksums='@CHECKSUMS@'

root=${DESTDIR:-}
bin=$root/usr/local/bin
etc=$root/etc/rollcall
state=$root/var/lib/rollcall-agent
units=$root/etc/systemd/system
user=rollcall-agent
work=
terminal=

fail() {
    printf 'rollcall: %s\n' "$1" >&2
    exit 1
}

say() {
    printf 'rollcall: %s\n' "$1"
}

clean() {
    if [ -n "$terminal" ]; then stty "$terminal" </dev/tty; fi
    if [ -n "$work" ]; then rm -rf "$work" "$bin/rollcall-agent.new"; fi
}

has() {
    command -v "$1" >/dev/null 2>&1
}

own() { # OWNER FILE
    if [ -z "$root" ]; then chown "$1" "$2"; fi
}

place() { # FILE MODE OWNER TARGET: the old one or the new one, never a part
    (umask 077 && cp "$1" "$4.new")
    own "$3" "$4.new"
    chmod "$2" "$4.new"
    mv -f "$4.new" "$4"
}

check() {
    [ "$(uname -s)" = Linux ] || fail "this agent is for Linux"
    [ -n "$root" ] || [ "$(id -u)" = 0 ] || fail "run this as root: … | sudo sh"
    has curl || has wget || fail "curl or wget is needed"
    has sha256sum || fail "sha256sum is needed"
    from=${ROLLCALL_ENROL_URL:-${ROLLCALL_URL:-$suite}}
    from=${from%%,*}
    newline='
'
    for value in "${ROLLCALL_URL:-}" "${ROLLCALL_ENROL_URL:-}" "${ROLLCALL_NAME:-}" "${ROLLCALL_INTERVAL:-}" \
        "${ROLLCALL_PROCESSES:-}" "${ROLLCALL_ALLOW:-}" "${ROLLCALL_WATCH_ALLOW:-}"; do
        case $value in *\'* | *"$newline"*) fail "settings must be one line without single quotes" ;; esac
    done
    arch=$(uname -m)
    case $arch in
    amd64) arch=x86_64 ;;
    arm64) arch=aarch64 ;;
    esac
    wanted=$(printf '%s\n' "$checksums" | sed -n "s/^$arch //p")
    [ -n "$wanted" ] || fail "the suite offers no agent for $arch, but for: $(printf '%s\n' "$checksums" | cut -d ' ' -f 1 | tr '\n' ' ')"
}

# The token stays in this shell: it is in no command line, and in no environment of what is called.
find_token() {
    token=${ROLLCALL_TOKEN:-}
    unset ROLLCALL_TOKEN
    if grep -q '"credential":"' "$state/state.json" 2>/dev/null; then
        token=
        return
    fi
    if [ -n "${ROLLCALL_TOKEN_FILE:-}" ]; then
        token=$(cat "$ROLLCALL_TOKEN_FILE") || fail "cannot read $ROLLCALL_TOKEN_FILE"
    fi
    if [ -z "$token" ] && [ ! -s "$etc/token" ]; then
        (: </dev/tty) 2>/dev/null || fail "there is no token: put one into a file and set ROLLCALL_TOKEN_FILE to it"
        terminal=$(stty -g </dev/tty)
        printf 'Enrolment token (it is not shown): ' >/dev/tty
        stty -echo </dev/tty
        IFS= read -r token </dev/tty || true
        stty "$terminal" </dev/tty
        terminal=
        printf '\n' >/dev/tty
        [ -n "$token" ] || fail "there is no token"
    fi
}

fetch() { # URL FILE
    ca=${ROLLCALL_CA_FILE:-}
    if [ -z "$ca" ] && [ -f "$etc/ca.pem" ]; then ca=$etc/ca.pem; fi
    if has curl; then
        curl -fsSL ${ca:+--cacert "$ca"} -o "$2" "$1"
    else
        wget -q ${ca:+"--ca-certificate=$ca"} -O "$2" "$1"
    fi
}

install_agent() {
    case $from in
    https://* | http://localhost | http://localhost[:/]* | http://127.* | http://\[::1\]*) ;;
    *) say "warning: $from is not https: the token and what this host reports go over the network in clear" >&2 ;;
    esac
    fetch "${from%/}/server-management/v1/agents/$arch" "$work/agent" ||
        fail "cannot fetch ${from%/}/server-management/v1/agents/$arch"
    found=$(sha256sum "$work/agent")
    found=${found%% *}
    [ "$found" = "$wanted" ] || fail "what was fetched is not the agent that the suite offers (its SHA-256 is $found, not $wanted): nothing was installed. Fetch this script anew and try again"
    mkdir -p "$bin"
    cp "$work/agent" "$bin/rollcall-agent.new"
    chmod 755 "$bin/rollcall-agent.new"
    version=$("$bin/rollcall-agent.new" --version) || fail "the agent does not run on this host: nothing was installed"
    mv -f "$bin/rollcall-agent.new" "$bin/rollcall-agent"
    say "$version is in $bin"
}

make_user() {
    if [ -n "$root" ] || id -u $user >/dev/null 2>&1; then return; fi
    if has useradd; then
        useradd --system --user-group --home-dir /var/lib/rollcall-agent --no-create-home --shell /bin/false $user
    else
        addgroup -S $user
        adduser -S -D -H -h /var/lib/rollcall-agent -s /bin/false -G $user $user
    fi
}

put() { # NAME VALUE: in agent.env, instead of what is there
    sed "/^$1=/d" "$work/agent.env" >"$work/others"
    printf "%s='%s'\n" "$1" "$2" >>"$work/others"
    mv -f "$work/others" "$work/agent.env"
}

# What a person changed in agent.env stays, but for what is said anew.
write_settings() {
    mkdir -p "$etc" "$state"
    own root:$user "$etc"
    chmod 750 "$etc"
    own $user:$user "$state"
    chmod 700 "$state"
    if [ -f "$etc/agent.env" ]; then
        cp "$etc/agent.env" "$work/agent.env"
    else
        printf '# Settings of rollcall-agent; rollcall-agent --help explains them.\n' >"$work/agent.env"
        put ROLLCALL_URL "$suite"
        put ROLLCALL_TOKEN_FILE /etc/rollcall/token
    fi
    if [ -n "${ROLLCALL_URL:-}" ]; then put ROLLCALL_URL "$ROLLCALL_URL"; fi
    if [ -n "${ROLLCALL_ENROL_URL:-}" ]; then put ROLLCALL_ENROL_URL "$ROLLCALL_ENROL_URL"; fi
    if [ -n "${ROLLCALL_NAME:-}" ]; then put ROLLCALL_NAME "$ROLLCALL_NAME"; fi
    if [ -n "${ROLLCALL_INTERVAL:-}" ]; then put ROLLCALL_INTERVAL "$ROLLCALL_INTERVAL"; fi
    if [ -n "${ROLLCALL_PROCESSES:-}" ]; then put ROLLCALL_PROCESSES "$ROLLCALL_PROCESSES"; fi
    if [ -n "${ROLLCALL_CA_FILE:-}" ]; then
        cp "$ROLLCALL_CA_FILE" "$work/ca.pem"
        place "$work/ca.pem" 644 root:root "$etc/ca.pem"
        put ROLLCALL_CA_FILE /etc/rollcall/ca.pem
    fi
    if [ -n "${ROLLCALL_WATCH_FILE:-}" ]; then
        (umask 077 && cp "$ROLLCALL_WATCH_FILE" "$work/watch.json")
        place "$work/watch.json" 600 $user:$user "$etc/watch.json"
        put ROLLCALL_WATCH_FILE /etc/rollcall/watch.json
    fi
    if [ -n "${ROLLCALL_WATCH_ALLOW:-}" ]; then put ROLLCALL_WATCH_ALLOW "$ROLLCALL_WATCH_ALLOW"; fi
    place "$work/agent.env" 640 root:$user "$etc/agent.env"
    if [ -n "$token" ]; then
        (umask 077 && printf '%s\n' "$token" >"$work/token")
        place "$work/token" 600 $user:$user "$etc/token"
    fi
}

write_unit() {
    cat >"$work/unit" <<'UNIT'
@UNIT@
UNIT
    mkdir -p "$units"
    place "$work/unit" 644 root:root "$units/rollcall-agent.service"
}

# What this host's owner allows, as it was said. Whose orders count is asked of the suite, unless that was said too.
allow() {
    if [ -n "${ROLLCALL_ALLOW:-}" ]; then
        printf '# Which orders this host carries out. It has to belong to root, and nobody else may write it.\n' >"$work/hand.conf"
        printf '%s\n' "$ROLLCALL_ALLOW" | tr ';' '\n' | sed 's/^ *//; s/ *$//; /^$/d' >>"$work/hand.conf"
        if ! grep -q '^keys' "$work/hand.conf"; then
            key=
            if fetch "${from%/}/server-management/v1/order-key" "$work/key"; then
                key=$(sed -n 's/.*"keys" *: *"\([A-Za-z0-9._-]*:[A-Za-z0-9_-]*\)".*/\1/p' "$work/key")
            fi
            if [ -n "$key" ]; then
                printf 'keys = %s\n' "$key" >>"$work/hand.conf"
                say "orders count that this key signed; ask the suite's owner whether it is theirs: $key"
            else
                printf '# Whose orders count, as name:key, from GET order-key of the suite. Until then none are carried out.\n# keys =\n' >>"$work/hand.conf"
                say "warning: the suite tells no key for orders; put one into $etc/hand.conf, until then none are carried out" >&2
            fi
        fi
        id=$(sed -n 's/.*"server_id":"\([0-9a-f-]*\)".*/\1/p' "$state/state.json" 2>/dev/null) || id=
        if [ -n "$id" ] && ! grep -q '^server' "$work/hand.conf"; then
            printf 'server = %s\n' "$id" >>"$work/hand.conf"
        fi
        place "$work/hand.conf" 644 root:root "$etc/hand.conf"
    fi
    if [ ! -f "$etc/hand.conf" ]; then return; fi
    cat >"$work/hand" <<'UNIT'
@HAND_UNIT@
UNIT
    cat >"$work/socket" <<'UNIT'
@HAND_SOCKET@
UNIT
    mkdir -p "$units"
    place "$work/hand" 644 root:root "$units/rollcall-hand.service"
    place "$work/socket" 644 root:root "$units/rollcall-hand.socket"
    if [ -n "$root" ]; then return; fi
    systemctl daemon-reload
    systemctl enable --quiet rollcall-hand.socket
    # One of before may run yet.
    systemctl stop --quiet rollcall-hand.service
    systemctl restart rollcall-hand.socket
    allowed=$("$bin/rollcall-agent" hand --check 2>&1) || fail "the agent runs, but this host takes no orders: $allowed"
    say "$allowed"
}

start() {
    systemctl daemon-reload
    systemctl enable --quiet rollcall-agent.service
    systemctl restart rollcall-agent.service
    tries=0
    until why=$("$bin/rollcall-agent" --state-dir "$state" healthcheck 2>&1); do
        tries=$((tries + 1))
        [ $tries -lt 30 ] || fail "the agent is installed and runs, but: $why. \`journalctl -u rollcall-agent\` says more"
        sleep 1
    done
    rm -f "$etc/token"
    say "this host is enrolled and reports"
}

main() {
    trap clean EXIT
    trap 'exit 1' HUP INT TERM
    umask 022
    check
    find_token
    work=$(mktemp -d)
    install_agent
    make_user
    write_settings
    if [ -n "$root" ]; then
        write_unit
        allow
    elif [ -d /run/systemd/system ] && has systemctl; then
        write_unit
        start
        allow
    else
        say "there is no systemd here; have this run at boot, and remove /etc/rollcall/token once it has enrolled:"
        printf "  su -s /bin/sh %s -c 'set -a; . /etc/rollcall/agent.env; exec /usr/local/bin/rollcall-agent'\n" $user
    fi
}

# As a function, so that a script that arrived in part does nothing; and nothing that it calls reads the script.
main </dev/null
