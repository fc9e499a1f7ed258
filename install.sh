#!/bin/sh
# Puts the gateway on a Debian or a Raspberry Pi OS of 64 bits, from this checkout. It may be run again at any time.
#   sudo sh install.sh                   installs, or upgrades; the site file and the data stay
#   sudo sh install.sh --offline FOLDER  the same from wheels in a folder, without a network (gateway/system/deb.sh --wheels)
#   sudo sh install.sh --job FILE        the same, with the office's job file, and the Wi-Fi beside it: then a claim takes the label alone
#   sudo sh install.sh --back            back to the version before
#   sudo sh install.sh --remove          takes program and service away; the site file and the data stay
#   sudo sh install.sh --purge           takes these away, too
# --root FOLDER does it all below a folder, for images and tests: no user, no service is touched then.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root= wheels= job= what=install
while [ $# -gt 0 ]; do
    case "$1" in
        --root) root=${2:?--root FOLDER}; shift ;;
        --offline) wheels=${2:?--offline FOLDER}; shift ;;
        --job) job=${2:?--job FILE}; shift ;;
        --back | --remove | --purge) what=${1#--} ;;
        -h | --help) sed -n '2,9s/^# \{0,1\}//p' "$0"; exit 0 ;;
        *) echo "install.sh : $1 ? (--help)" >&2; exit 2 ;;
    esac
    shift
done
opt=$root/opt/guet etc=$root/etc/guet var=$root/var/lib/guet
unit=$root/etc/systemd/system/guet.service rules=$root/etc/udev/rules.d/61-guet.rules
networks=$root/etc/NetworkManager/system-connections

say() { echo "Guet : $1 / $2" >&2; }
live() { [ -z "$root" ]; }                       # a real machine, not a folder
with_systemd() { live && [ -d /run/systemd/system ]; }

if [ -n "$job" ] && [ ! -r "$job" ]; then
    say "--job $job : illisible" "--job $job: cannot be read"
    exit 2
fi
if live && [ "$(id -u)" -ne 0 ]; then
    say "il faut les droits d'administration : sudo sh install.sh" "administrator rights are needed: sudo sh install.sh"
    exit 2
fi

# Points `current` at a release in one step.
switch_to() {
    ln -sfn "$1" "$opt/.next"
    mv -T "$opt/.next" "$opt/current"
}

# Whether the service comes up and stays up for a while; what systemd does not run cannot be asked.
healthy() {
    with_systemd || return 0
    systemctl restart guet || return 1
    sleep 10
    systemctl is-active --quiet guet
}

remove_program() {
    if with_systemd; then systemctl disable --now guet 2>/dev/null || true; fi
    rm -rf "$opt"
    rm -f "$unit" "$rules" "$root/usr/local/bin/guet"
    if with_systemd; then systemctl daemon-reload; udevadm control --reload 2>/dev/null || true; fi
}

case "$what" in
    remove)
        remove_program
        say "retiré ; $etc et $var restent" "removed; $etc and $var stay"
        exit 0
        ;;
    purge)
        remove_program
        rm -rf "$etc" "$var" "$networks/guet.nmconnection"
        if live; then userdel guet 2>/dev/null || true; fi
        say "retiré, avec ses données" "removed, with its data"
        exit 0
        ;;
    back)
        before=$(cat "$opt/before" 2>/dev/null || true)
        if [ -z "$before" ] || [ ! -x "$opt/$before/bin/guet" ]; then
            say "il n'y a pas de version d'avant" "there is no version before"
            exit 1
        fi
        readlink "$opt/current" >"$opt/before.new"
        switch_to "$before"
        mv "$opt/before.new" "$opt/before"
        if ! healthy; then
            say "elle ne démarre pas : journalctl -u guet" "it does not start: journalctl -u guet"
            exit 1
        fi
        say "retour à $before" "back to $before"
        exit 0
        ;;
esac

# A Python that we support, or an explanation by `doctor`, which any Python runs.
python=
for candidate in "${PYTHON:-}" python3.13 python3.12 python3.11 python3; do
    [ -n "$candidate" ] || continue
    if "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' 2>/dev/null; then
        python=$candidate
        break
    fi
done
if ! (cd "$here" && "${python:-python3}" -B -m gateway.doctor >&2) || [ -z "$python" ]; then
    say "rien n'a été installé" "nothing was installed"
    exit 1
fi

if live; then
    if ! id guet >/dev/null 2>&1; then
        useradd --system --home-dir "$var" --no-create-home --shell /usr/sbin/nologin --user-group guet
    fi
    for group in dialout bluetooth; do
        if getent group "$group" >/dev/null; then usermod -aG "$group" guet; fi
    done
fi
mkdir -p "$opt/releases" "$etc" "$var" "$root/usr/local/bin" "$(dirname "$unit")" "$(dirname "$rules")"

# Each version has a folder of its own; nothing is changed of the one that runs until the new one is whole.
version=$(sed -n 's/^__version__ = "\(.*\)"/\1/p' "$here/gateway/__init__.py")
release=releases/$version-$(date -u +%Y%m%d%H%M%S)
to=$opt/$release
trap 'rm -rf "$to"' EXIT
say "installation de la version $version (quelques minutes) ..." "installing version $version (a few minutes) ..."
"$python" -m venv "$to"
run_pip() {
    "$to/bin/python" -m pip --quiet --disable-pip-version-check install ${wheels:+--no-index --find-links "$wheels"} "$@" >&2
}
run_pip --require-hashes --prefer-binary -r "$here/requirements-gateway.lock"
build=$(mktemp -d)
cp -a "$here/pyproject.toml" "$here/README.md" "$here/LICENSE" "$here/gateway" "$here/simulator" "$here/central" "$here/firmware" "$build/"
rm -rf "$build"/firmware/.stubs-*
run_pip --no-deps --no-build-isolation "$build"
rm -rf "$build"
mkdir -p "$to/share/guet"
cp -a "$here/device_profiles" "$here/edge_models" "$here/docs" "$to/share/guet/"
"$to/bin/guet" --version >/dev/null
# For the service, which cannot write here; some packages bring templates that are no Python, and that is no fault.
"$to/bin/python" -OO -m compileall -q -j 0 -x '/(pip|setuptools|pkg_resources|tests)/' "$to/lib" >/dev/null 2>&1 || true
trap - EXIT

# What people have written is never overwritten. A site that says nothing else keeps its data in $var.
[ -e "$etc/guet-data" ] || ln -s ../../var/lib/guet "$etc/guet-data"
[ -f "$etc/environment" ] || printf '# Where the page is served (on a network nothing is read there without a password), and the language of messages.\nGUET_PAGE=0.0.0.0:80\nGUET_LANG=fr\n' >"$etc/environment"
sed "s#/opt/guet#${root:+$root}/opt/guet#g" "$here/gateway/system/guet.service" >"$unit.new" && mv "$unit.new" "$unit"
cp "$here/gateway/system/61-guet.rules" "$rules"
cat >"$root/usr/local/bin/guet" <<EOF
#!/bin/sh
# guet of the version that is installed now.
export GUET_HOME="$opt/current/share/guet"
exec "$opt/current/bin/guet" "\$@"
EOF
chmod 755 "$root/usr/local/bin/guet"
if [ -n "$job" ]; then
    cp "$job" "$etc/job.guet"
    # The Wi-Fi on its label, where the office's file for it lies beside the job, and NetworkManager is there to have it.
    wifi=$(dirname "$job")/wifi-$(basename "$job" .guet).nmconnection
    if [ -f "$wifi" ] && [ -d "$networks" ]; then
        (umask 077 && cp "$wifi" "$networks/guet.nmconnection")
        if live; then nmcli connection reload 2>/dev/null || true; fi
    fi
fi
if live; then
    chown root:guet "$etc" && chmod 770 "$etc"
    for file in environment job.guet; do
        if [ -f "$etc/$file" ]; then chown root:guet "$etc/$file" && chmod 640 "$etc/$file"; fi
    done
    chown guet:guet "$var" && chmod 750 "$var"
fi

before=$(readlink "$opt/current" 2>/dev/null || true)
switch_to "$release"
[ -z "$before" ] || echo "$before" >"$opt/before"
if with_systemd; then
    udevadm control --reload 2>/dev/null && udevadm trigger --subsystem-match=tty 2>/dev/null || true
    systemctl daemon-reload
    systemctl enable --quiet guet
    if ! healthy; then
        if [ -n "$before" ]; then
            switch_to "$before"
            systemctl restart guet || true
            say "la nouvelle version ne démarre pas : l'ancienne est remise ; journalctl -u guet" \
                "the new version does not start: the old one is back; journalctl -u guet"
        else
            say "installée, mais elle ne démarre pas : journalctl -u guet" "installed, but it does not start: journalctl -u guet"
        fi
        exit 1
    fi
fi

# The version before stays for --back, older ones go.
for old in "$opt"/releases/*; do
    case "releases/$(basename "$old")" in "$release" | "$before") ;; *) rm -rf "$old" ;; esac
done
say "version $version installée" "version $version installed"
if [ ! -f "$etc/site.toml" ]; then
    page=$(sed -n 's/^GUET_PAGE=//p' "$etc/environment" | tail -n 1) address=$(hostname -I 2>/dev/null | cut -d ' ' -f 1 || true)
    page=http://$(echo "$page" | sed "s/^0\.0\.0\.0/${address:-ADDRESS}/; s/:80\$//")
    say "pas encore de site : la page l'enrôle, $page ; ou sudo guet claim MISSION $etc/site.toml" \
        "no site yet: the page claims it, $page; or sudo guet claim JOB $etc/site.toml"
fi
