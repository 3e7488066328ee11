#!/bin/sh
# The handshake by curl, which needs no WebSocket for it: headers are enough. Prints one line of JSON a step.
folder=$(mktemp -d) || exit 1
trap 'rm -rf "$folder"' EXIT

# curl prints the frames behind the 101 too, and waits for more until its time is over.
connect () {
  curl --silent --include --http1.1 --no-buffer --max-time 20 \
    --header 'Connection: Upgrade' --header 'Upgrade: websocket' \
    --header 'Sec-WebSocket-Version: 13' --header 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==' \
    --header "$1" "$(echo "$WS_URL" | sed 's/^ws/http/')"
}
status () { sed -n '1s/^HTTP\/1.1 \([0-9]*\).*/\1/p' "$1"; }
greeting () { grep --text --only-matching 'hello [a-z]*' "$1"; }
protocol () { sed -n 's/^[Ss]ec-[Ww]eb[Ss]ocket-[Pp]rotocol: \([a-z]*\).*/\1/p' "$1"; }

connect "Authorization: Bearer $TOKEN" >"$folder/header" &
connect "Sec-WebSocket-Protocol: bearer, $TOKEN" >"$folder/subprotocol" &
connect 'Authorization: Bearer bad' >"$folder/refusal"
wait
printf '{"step":"header","status":%s,"greeting":"%s"}\n' "$(status "$folder/header")" "$(greeting "$folder/header")"
printf '{"step":"subprotocol","status":%s,"protocol":"%s","greeting":"%s"}\n' \
  "$(status "$folder/subprotocol")" "$(protocol "$folder/subprotocol")" "$(greeting "$folder/subprotocol")"
printf '{"step":"refusal","status":%s}\n' "$(status "$folder/refusal")"
