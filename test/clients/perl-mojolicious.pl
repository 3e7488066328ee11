# A client by Mojo::UserAgent, of Debian's libmojolicious-perl. Prints one line of JSON a step.
use v5.16;
use warnings;
use Mojo::UserAgent;
use Mojo::Promise;
use Mojo::JSON qw(decode_json encode_json);

$| = 1;
my ($url, $token, $next) = @ENV{qw(WS_URL TOKEN NEXT_TOKEN)};
my $agent = Mojo::UserAgent->new(inactivity_timeout => 0);

sub say_step { say encode_json({@_}) }

# The transaction, after the handshake or its refusal; its messages stand in a queue.
sub handshake {
  my ($bearer, @protocols) = @_;
  my $opened = Mojo::Promise->new;
  my $headers = defined $bearer ? {Authorization => "Bearer $bearer"} : {};
  $agent->websocket($url => $headers => [@protocols] => sub {
    my ($agent, $tx) = @_;
    if ($tx->is_websocket) {
      my $queue = $tx->{queue} = [];
      $tx->on(text => sub { push @$queue, $_[1] });
      $tx->on(finish => sub { push @$queue, [@_[1, 2]] });
    }
    $opened->resolve($tx);
  });
  my $result;
  $opened->then(sub { $result = shift })->wait;
  return $result;
}

sub next_of {
  my $queue = shift->{queue};
  Mojo::IOLoop->one_tick until @$queue;
  return shift @$queue;
}

sub authenticate {
  my ($tx, $with) = @_;
  $tx->send({json => {type => 'auth', token => $with}});
  return decode_json(next_of($tx));
}

my $tx = handshake($token);
say_step(step => 'header', greeting => next_of($tx));
$tx->send({text => 'token'});
my $short = next_of($tx);
$tx->finish;

$tx = handshake(undef, 'bearer', $token);
say_step(step => 'subprotocol', protocol => $tx->protocol, greeting => next_of($tx));
$tx->finish;

say_step(step => 'refusal', status => handshake('bad')->res->code + 0);

$tx = handshake(undef);
my $answer = authenticate($tx, $token);
say_step(step => 'first message', answer => $answer, greeting => next_of($tx));
say_step(step => 'renewal after it', answer => authenticate($tx, $next));
$tx->finish;

$tx = handshake(undef, 'bearer', $token, 'ws-auth');
my $opening = decode_json(next_of($tx))->{type};
next_of($tx);
say_step(step => 'renewal by offer', protocol => $tx->protocol, opening => $opening, answer => authenticate($tx, $next));
$tx->finish;

$tx = handshake($short);
next_of($tx);
my ($code, $reason) = @{next_of($tx)};
say_step(step => 'expiry', code => $code + 0, reason => $reason);
