// A client by java.net.http, which is in every JDK from 11 on. Prints one line of JSON a step. Java has no JSON of its own: the frames are texts.
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.WebSocket;
import java.net.http.WebSocketHandshakeException;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CompletionException;
import java.util.concurrent.CompletionStage;
import java.util.concurrent.LinkedBlockingQueue;

class JavaNetHttp {
  static final URI ADDRESS = URI.create(System.getenv("WS_URL"));
  static final String TOKEN = System.getenv("TOKEN");
  static final String NEXT = System.getenv("NEXT_TOKEN");
  static final HttpClient CLIENT = HttpClient.newHttpClient();

  /** A connection, and the messages that have come. */
  static class Connection implements WebSocket.Listener {
    final BlockingQueue<String> received = new LinkedBlockingQueue<>();
    final StringBuilder partial = new StringBuilder();
    final WebSocket socket;

    Connection(String token, String... protocols) {
      WebSocket.Builder builder = CLIENT.newWebSocketBuilder();
      if (token != null) builder.header("Authorization", "Bearer " + token);
      if (protocols.length > 0) builder.subprotocols(protocols[0], java.util.Arrays.copyOfRange(protocols, 1, protocols.length));
      socket = builder.buildAsync(ADDRESS, this).join();
    }

    @Override public CompletionStage<?> onText(WebSocket from, CharSequence data, boolean isLast) {
      partial.append(data);
      if (isLast) {
        received.add(partial.toString());
        partial.setLength(0);
      }
      from.request(1);
      return null;
    }

    @Override public CompletionStage<?> onClose(WebSocket from, int code, String reason) {
      received.add("\"code\":" + code + ",\"reason\":\"" + reason + "\"");
      return null;
    }

    String read() throws InterruptedException { return received.take(); }

    String authenticate(String token) throws InterruptedException {
      socket.sendText("{\n  \"token\" : \"" + token + "\",\n  \"type\" : \"\\u0061uth\"\n}\n", true).join();
      return read();
    }

    void leave() { socket.sendClose(WebSocket.NORMAL_CLOSURE, "").join(); }
  }

  static void say(String step, String seen) { System.out.println("{\"step\":\"" + step + "\"," + seen + "}"); }

  public static void main(String[] arguments) throws InterruptedException {
    Connection byHeader = new Connection(TOKEN);
    say("header", "\"greeting\":\"" + byHeader.read() + "\"");
    byHeader.socket.sendText("token", true).join();
    String shortToken = byHeader.read();
    byHeader.leave();

    Connection bySubprotocol = new Connection(null, "bearer", TOKEN);
    say("subprotocol", "\"protocol\":\"" + bySubprotocol.socket.getSubprotocol() + "\",\"greeting\":\"" + bySubprotocol.read() + "\"");
    bySubprotocol.leave();

    try {
      new Connection("bad");
      say("refusal", "\"status\":101");
    } catch (CompletionException error) {
      say("refusal", "\"status\":" + ((WebSocketHandshakeException) error.getCause()).getResponse().statusCode());
    }

    Connection byMessage = new Connection(null);
    String answer = byMessage.authenticate(TOKEN);
    say("first message", "\"answer\":" + answer + ",\"greeting\":\"" + byMessage.read() + "\"");
    say("renewal after it", "\"answer\":" + byMessage.authenticate(NEXT));
    byMessage.leave();

    Connection byOffer = new Connection(null, "bearer", TOKEN, "ws-auth");
    String opening = byOffer.read().replaceFirst("^\\{\"type\":\"([^\"]*)\".*$", "$1");
    byOffer.read();
    say("renewal by offer", "\"protocol\":\"" + byOffer.socket.getSubprotocol() + "\",\"opening\":\"" + opening + "\",\"answer\":" + byOffer.authenticate(NEXT));
    byOffer.leave();

    Connection expiring = new Connection(shortToken);
    expiring.read();
    say("expiry", expiring.read());
  }
}
