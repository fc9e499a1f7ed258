#!/bin/bash
# What is tried inside of the machine of boot.sh. Each line says what holds, or what does not.
set -u
cd /root
passed=0 failed=0
that() {
    local what=$1
    shift
    if "$@" >/tmp/said 2>&1; then passed=$((passed + 1)); echo "ok    $what"; else failed=$((failed + 1)); echo "FAILS $what"; tail -n 5 /tmp/said; fi
}
active() { [ "$(systemctl is-active guet)" = active ]; }
pid() { systemctl show guet -p MainPID --value; }
page() { curl -s -o /dev/null -w '%{http_code} %{redirect_url}' "http://127.0.0.1$1"; }
leads() { [ "$(page "$1")" = "303 http://127.0.0.1$2" ]; }
within() { for _ in $(seq "$1"); do if "${@:2}"; then return 0; fi; sleep 1; done; return 1; }
install() { sh /root/guet/install.sh --offline /root/wheels "$@"; }
same() { sha256sum --status -c /root/kept.sum; }
says() { systemd-analyze security guet --no-pager | tail -n 1 | grep -q OK; }

cat >office.toml <<'T'
[gateway]
id = "edge-0042"
commune = "Exemple-le-Bourg"
timezone = "Europe/Paris"
latitude = 47.24
longitude = 6.02
[[bus]]
name = "armoire"
protocol = "modbus-tcp"
host = "127.0.0.1"
port = 5020
[[device]]
name = "pression-amont"
profile = "water/keller_x_line"
bus = "armoire"
address = 2
every = "2s"
T

that "the doctor runs on the bare Python" bash -c 'cd /root/guet && python3 -B -m gateway.doctor'
that "install.sh installs" install
that "a gateway without a site runs" active
that "it runs as guet" test "$(stat -c %U "/proc/$(pid)")" = guet
that "its page asks to be claimed" within 20 leads / /claim
that "the unit is one that systemd takes" systemd-analyze verify /etc/systemd/system/guet.service
that "the unit is hardened" says
that "the rules are ones that udev takes" bash -c '! udevadm test /devices/virtual/mem/null 2>&1 | grep -iE "61-guet.*(invalid|unknown|error)"'

guet pack office.toml --out stick --keys keys --by Bureau >/dev/null
code=$(grep -o 'code [A-Z0-9-]*' stick/label-edge-0042.svg | cut -d' ' -f2)
password=$(grep -o 'la page [A-Z0-9-]*' stick/label-edge-0042.svg | cut -d' ' -f3)
mkdir -p /etc/NetworkManager/system-connections
that "an upgrade takes the office's job" install --job stick/edge-0042.guet
that "and the Wi-Fi of the label" bash -c '[ "$(stat -c %a /etc/NetworkManager/system-connections/guet.nmconnection)" = 600 ]'
that "the page waits for the code" bash -c "curl -s http://127.0.0.1/c/$code | grep -q 'Il ne manque que le code'"
claimed() { curl -s -H "Origin: http://127.0.0.1" -F "code=$1" -F who=AM http://127.0.0.1/claim | grep -q "$2"; }
that "a wrong code is refused" claimed AAAA-AAAA "relisez"
that "the right code claims it" claimed "$code" "Enrôlée localement"
that "the site is there, and asks for a password" within 20 leads / "/enter?to=%2F"
that "the label's password opens it" bash -c "curl -s -o /dev/null -w '%{http_code}' -H 'Origin: http://127.0.0.1' -d who=AM -d password=$password http://127.0.0.1/enter | grep -q 303"
that "the data is in /var/lib/guet" test -s /var/lib/guet/store.db
that "nothing of it is for others" bash -c '[ -z "$(find /var/lib/guet /etc/guet -type f -perm /o=rwx)" ]'

sha256sum /etc/guet/site.toml /var/lib/guet/key.pem /var/lib/guet/claim.json >kept.sum
before=$(readlink /opt/guet/current)
that "an upgrade" install
that "keeps site, key and claim" same
that "is another release" test "$(readlink /opt/guet/current)" != "$before"
that "the way back" sh /root/guet/install.sh --back
that "is the release before" test "$(readlink /opt/guet/current)" = "$before"
cp -a guet broken && sed -i 's/^def run(argv/raise SystemExit("broken")\ndef run(argv/' broken/gateway/verbs.py
that "an upgrade that does not start is refused" bash -c '! sh /root/broken/install.sh --offline /root/wheels'
that "and what ran before runs" active
old=$(pid)
kill -9 "$old"
that "a gateway that was killed comes back" within 30 bash -c "[ \"\$(systemctl show guet -p MainPID --value)\" != $old ] && systemctl is-active -q guet"
sed -i 's/every = "2s"/every = "3s"/' /etc/guet/site.toml
that "reload puts a file changed by hand on trial" systemctl reload guet
that "which may stay" within 20 guet site keep --anyway --by AM --site /etc/guet/site.toml
sha256sum /etc/guet/site.toml /var/lib/guet/key.pem /var/lib/guet/claim.json >kept.sum
old=$(pid)
kill -STOP "$old"
that "a gateway that hangs is started anew by the watchdog" within 110 bash -c "[ \"\$(systemctl show guet -p MainPID --value)\" != $old ] && systemctl is-active -q guet"

that "it is removed" sh /root/guet/install.sh --remove
that "and its site and data stay" same
that "its program does not" test ! -e /opt/guet
export DEBIAN_FRONTEND=noninteractive
that "the package installs without a network" dpkg -i guet_*.deb
that "and runs the site that was there" active
that "which is as it was" same
that "the package upgrades" dpkg -i guet_*.deb
that "the package is removed" dpkg -r guet
that "and site and data stay" same
that "the package is purged" dpkg -P guet
that "and nothing is left" bash -c '! ls -d /etc/guet /var/lib/guet /opt/guet /usr/share/guet /usr/local/bin/guet /etc/systemd/system/guet.service 2>/dev/null && ! id guet'
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
