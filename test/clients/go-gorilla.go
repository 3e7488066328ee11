// A client by gorilla/websocket, of Debian's golang-github-gorilla-websocket-dev. Prints one line of JSON a step.
package main

import (
	"encoding/json"
	"errors"
	"net/http"
	"os"

	"github.com/gorilla/websocket"
)

var url, token, next = os.Getenv("WS_URL"), os.Getenv("TOKEN"), os.Getenv("NEXT_TOKEN")

type object map[string]any

func say(seen object) { must(json.NewEncoder(os.Stdout).Encode(seen)) }

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func dial(token string, protocols ...string) (*websocket.Conn, *http.Response, error) {
	header := http.Header{}
	if token != "" {
		header.Set("Authorization", "Bearer "+token)
	}
	dialer := websocket.Dialer{Subprotocols: protocols}
	return dialer.Dial(url, header)
}

func connect(token string, protocols ...string) *websocket.Conn {
	socket, _, err := dial(token, protocols...)
	must(err)
	return socket
}

func read(socket *websocket.Conn) string {
	_, message, err := socket.ReadMessage()
	must(err)
	return string(message)
}

// Go sorts the keys: the token comes before the type.
func authenticate(socket *websocket.Conn, token string) json.RawMessage {
	must(socket.WriteJSON(object{"type": "auth", "token": token}))
	return json.RawMessage(read(socket))
}

func main() {
	socket := connect(token)
	say(object{"step": "header", "greeting": read(socket)})
	must(socket.WriteMessage(websocket.TextMessage, []byte("token")))
	short := read(socket)
	socket.Close()

	socket = connect("", "bearer", token)
	say(object{"step": "subprotocol", "protocol": socket.Subprotocol(), "greeting": read(socket)})
	socket.Close()

	_, response, err := dial("bad")
	if !errors.Is(err, websocket.ErrBadHandshake) {
		panic(err)
	}
	say(object{"step": "refusal", "status": response.StatusCode})

	socket = connect("")
	answer := authenticate(socket, token)
	say(object{"step": "first message", "answer": answer, "greeting": read(socket)})
	say(object{"step": "renewal after it", "answer": authenticate(socket, next)})
	socket.Close()

	socket = connect("", "bearer", token, "ws-auth")
	var opening struct{ Type string }
	must(json.Unmarshal([]byte(read(socket)), &opening))
	read(socket)
	say(object{"step": "renewal by offer", "protocol": socket.Subprotocol(), "opening": opening.Type, "answer": authenticate(socket, next)})
	socket.Close()

	socket = connect(short)
	read(socket)
	_, _, err = socket.ReadMessage()
	var closed *websocket.CloseError
	if !errors.As(err, &closed) {
		panic(err)
	}
	say(object{"step": "expiry", "code": closed.Code, "reason": closed.Text})
}
