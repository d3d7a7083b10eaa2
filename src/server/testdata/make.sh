#!/bin/sh
# Makes the certificates of the listener tests again: two chains of three, P-256, valid for a hundred years.
# Test data only: the keys are public.
set -eu
cd "$(dirname "$0")"
key() { openssl ecparam -name prime256v1 -genkey -noout | openssl pkcs8 -topk8 -nocrypt -out "$1.key"; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
printf 'basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\n' > "$work/ca.ext"
printf 'basicConstraints=critical,CA:FALSE\nextendedKeyUsage=serverAuth\nsubjectAltName=DNS:localhost,IP:127.0.0.1,IP:::1\n' > "$work/server.ext"
printf 'basicConstraints=critical,CA:FALSE\nextendedKeyUsage=clientAuth\n' > "$work/client.ext"
certify() { # name subject issuer extensions
  key "$1"
  openssl req -new -key "$1.key" -subj "$2" -out "$work/$1.csr"
  openssl x509 -req -in "$work/$1.csr" -CA "$3.pem" -CAkey "$3.key" -days 36500 -extfile "$work/$4.ext" -out "$1.pem" -CAcreateserial -CAserial "$work/serial"
}
key server-root && openssl req -x509 -new -key server-root.key -subj '/CN=Test server root' -days 36500 -out server-root.pem
key client-root && openssl req -x509 -new -key client-root.key -subj '/CN=Test client root' -days 36500 -out client-root.pem
certify server '/CN=localhost' server-root server
certify other-server '/CN=localhost' server-root server
certify client-issuer '/CN=Test client issuer' client-root ca
certify client '/CN=Test client' client-issuer client
rm -f client-root.key client-issuer.key server-root.key
