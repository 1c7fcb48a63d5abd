#!/bin/sh
# Makes what the compose files call secrets, in docker/secrets/, each once: what is there stays. Run as root: the
# containers' users get what they read, with mode 0400, and nobody else. The certificate is for a first try; put your
# own in its place. `metrics-token` stays empty until there is one (docs/deployment.md).
set -eu
umask 077
folder=${1:-$(cd "$(dirname "$0")" && pwd)/secrets}
host=${2:-localhost}
node=10001 grafana=472 prometheus=65534
mkdir -p "$folder"

random() { openssl rand -hex 24; }
own() { # file, user
    chmod 400 "$1"
    [ "$(id -u)" -ne 0 ] || chown "$2" "$1"
}

if [ ! -e "$folder/postgres-password" ]; then
    random > "$folder/postgres-password"
    own "$folder/postgres-password" 0
    printf 'postgres:5432:lungnode:lungnode:%s\n' "$(cat "$folder/postgres-password")" > "$folder/pgpass"
    own "$folder/pgpass" $node
fi
if [ ! -e "$folder/grafana-password" ]; then
    random > "$folder/grafana-password"
    own "$folder/grafana-password" $grafana
fi
if [ ! -e "$folder/orthanc.secret.json" ]; then
    printf '{"RegisteredUsers": {"lungnode": "%s"}}\n' "$(random)" > "$folder/orthanc.secret.json"
    own "$folder/orthanc.secret.json" 0
fi
if [ ! -e "$folder/web-key.pem" ]; then
    openssl req -x509 -newkey rsa:3072 -sha256 -days 365 -nodes -subj "/CN=$host" \
        -addext "subjectAltName=DNS:$host,DNS:receiver,DNS:web,DNS:worker" \
        -keyout "$folder/web-key.pem" -out "$folder/web-certificate.pem" 2> /dev/null
    own "$folder/web-key.pem" $node
    chmod 444 "$folder/web-certificate.pem"
fi
if [ ! -e "$folder/metrics-token" ]; then
    : > "$folder/metrics-token"
    own "$folder/metrics-token" $prometheus
fi
