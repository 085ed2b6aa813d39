#!/bin/sh
# Makes a CA in DIR, and under it the certificates (ECDSA P-256, for server and client) of everybody around an edge, once.
set -eu
d=$1
[ -f "$d/done" ] && exit 0
mkdir -p "$d"
cd "$d"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca.key -out ca.pem \
  -days 3650 -subj "/CN=bench perimeter CA" -addext "keyUsage=critical,keyCertSign,cRLSign" 2>/dev/null
mk() { # name, host
  openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$1.key" -out "$1.csr" \
    -subj "/CN=$2" 2>/dev/null
  printf 'subjectAltName=DNS:%s\nkeyUsage=critical,digitalSignature\nextendedKeyUsage=serverAuth,clientAuth\n' "$2" > "$1.ext"
  openssl x509 -req -in "$1.csr" -CA ca.pem -CAkey ca.key -CAcreateserial -out "$1.pem" \
    -days 3650 -extfile "$1.ext" 2>/dev/null
  chmod 600 "$1.key"
}
mk inside edge.bench.test
mk outside access.bench.test
mk front sip.bench.test
mk director director.bench.test
mk partner edge.partner.test
touch done
