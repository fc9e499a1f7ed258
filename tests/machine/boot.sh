#!/bin/bash
# Boots a Debian with its real systemd in namespaces of its own, without any network, and tries the installation in it: by
# install.sh and by the package, upgrade, an upgrade that does not start, way back, watchdog, removal, purge. By hand, as root
# (mmdebstrap, unshare, nsenter; some minutes):   tests/machine/boot.sh [--keep] [FOLDER]
# FOLDER: for the machine, some hundred MB. Ends with "N passed, N failed".
set -euo pipefail
here=$(cd "$(dirname "$0")/../.." && pwd)
keep=
if [ "${1:-}" = --keep ]; then keep=1; shift; fi
folder=${1:-$(mktemp -d)} name=guet-machine-$$
root=$folder/root
mkdir -p "$root"

say() { echo "== $*" >&2; }
[ -f "$folder/debian.tar" ] || {
    say "a Debian"
    mmdebstrap --variant=apt --include=systemd,systemd-sysv,dbus,udev,python3,python3-venv,adduser,passwd,tzdata,iproute2,curl \
        "${SUITE:-bookworm}" "$folder/debian.tar" >"$folder/mmdebstrap.log" 2>&1
}
tar -xf "$folder/debian.tar" -C "$root"
: >"$root/etc/machine-id"
say "the checkout, its wheels and its package"
mkdir -p "$root/root/guet" "$root/root/wheels"
(cd "$here" && git ls-files -co --exclude-standard | tar -cf - -T -) | tar -xf - -C "$root/root/guet"
arch=$(dpkg --print-architecture)
python=$(chroot "$root" python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')
sh "$here/gateway/system/deb.sh" --arch "$arch" --python "$python" --wheels "$root/root/wheels" 2>/dev/null
sh "$here/gateway/system/deb.sh" --arch "$arch" --python "$python" --out "$root/root" >/dev/null 2>&1

# The hierarchies of control groups that are there, each with a group of its own for the machine.
groups=$(awk '$3 ~ /^cgroup/ {print $2}' /proc/self/mounts)
boot() {
    for group in $groups; do
        if mkdir -p "$group/$name" 2>/dev/null; then echo "$BASHPID" >"$group/$name/cgroup.procs" 2>/dev/null || true; fi
    done
    exec unshare --cgroup --pid --mount --uts --ipc --net --fork --kill-child env ROOT="$root" bash -euc '
        mount --make-rprivate /
        mount --bind "$ROOT" "$ROOT"
        awk "\$3 ~ /^cgroup/ {print \$2, \$3, \$4}" /proc/self/mounts >"$ROOT/groups"
        cd "$ROOT"
        mount -t proc proc proc
        mount -t sysfs -o ro sysfs sys
        mount -t tmpfs -o mode=755 tmpfs dev
        for node in null zero full random urandom tty; do touch dev/$node; mount --bind /dev/$node dev/$node; done
        mkdir dev/pts dev/shm
        mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts dev/pts
        ln -s pts/ptmx dev/ptmx
        ln -s /proc/self/fd dev/fd
        touch dev/console
        for place in dev/shm run tmp; do mount -t tmpfs -o mode=1777 tmpfs $place; done
        chmod 755 run
        if ! grep -q " cgroup " groups; then
            mount -t cgroup2 cgroup2 sys/fs/cgroup
        else
            mount -t tmpfs -o mode=755 tmpfs sys/fs/cgroup
            while read -r place kind options; do
                at=sys/fs/cgroup/${place##*/}
                mkdir -p "$at"
                if [ "$kind" = cgroup2 ]; then
                    mount -t cgroup2 cgroup2 "$at"
                else
                    of=$(echo "$options" | tr , "\n" | grep -vE "^(rw|ro|nosuid|nodev|noexec|relatime|seclabel)$" | paste -sd, | sed "s/^name=/none,name=/")
                    mount -t cgroup -o "$of" cgroup "$at" || rmdir "$at"
                fi
            done <groups
        fi
        ip link set lo up
        mkdir -p old
        pivot_root . old
        umount -l /old
        exec env -i container=lxc PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd </dev/null'
}
(boot) >"$folder/boot.log" 2>&1 &
outer=$!
cleanup() {
    kill -KILL "$outer" 2>/dev/null || true  # with it goes the machine
    wait "$outer" 2>/dev/null || true
    sleep 2  # until all that ran in it is gone
    for group in $groups; do find "$group/$name" -depth -type d -exec rmdir {} \; 2>/dev/null || true; done
    [ -n "$keep" ] || rm -rf "$root"
}
trap cleanup EXIT
inside() {
    nsenter -t "$init" -m -u -i -n -p -C -r -w env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
        HOME=/root LANG=C.UTF-8 GUET_LANG=fr "$@"
}
for _ in $(seq 60); do
    init=$(pgrep -P "$outer" | head -n 1 || true)
    if [ -n "$init" ] && inside systemctl is-system-running 2>/dev/null | grep -qE 'running|degraded'; then break; fi
    sleep 1
done
say "$(inside systemctl --version | head -n 1)"
inside bash /root/guet/tests/machine/trial.sh
