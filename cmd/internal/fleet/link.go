package fleet

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/ipallow/ipallow/natsfeed"
)

// A Config says where a fleet's NATS is. The zero Config is that of a server
// without a fleet.
type Config struct {
	URLs     []string // of the servers; a dead one is passed over
	Prefix   string   // of the names of buckets and stream
	Identity          // who this node is to NATS
	Replicas int      // of buckets and stream; 0: as they are, and 1 of what is made
	Server   string   // the management node's name, for people
}

// DefaultPrefix is the default of Config.Prefix.
const DefaultPrefix = "ipallow"

// On reports whether there is a fleet.
func (c *Config) On() bool { return len(c.URLs) > 0 }

// Validate returns every fault, with the flags to correct.
func (c *Config) Validate() error {
	if !c.On() {
		return nil
	}
	var faults []error
	add := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	for _, text := range c.URLs {
		u, err := url.Parse(text)
		switch {
		case err != nil: // its text may have a password
			add("--nats: a URL cannot be read; want nats://HOST:PORT")
		case u.Host == "" || u.Scheme != "nats" && u.Scheme != "tls" && u.Scheme != "ws" && u.Scheme != "wss":
			add("--nats: %q: want nats://HOST:PORT, or tls://, ws:// or wss://", bare(u))
		}
	}
	faults = append(faults, c.Identity.validate(c.URLs)...)
	if c.Prefix == "" || len(c.Prefix) > 64 || strings.Trim(c.Prefix, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") != "" ||
		strings.ContainsAny(c.Prefix, ". ") {
		add("--nats-prefix: %.80q: want up to 64 letters, digits, hyphens and underscores", c.Prefix)
	}
	if c.Replicas < 0 || c.Replicas > 5 {
		add("--nats-replicas: %d: want 1 to 5, or 0 to leave what exists as it is", c.Replicas)
	}
	return errors.Join(faults...)
}

// Names of what a fleet has in NATS.
func (c *Config) keysBucket() string  { return c.Prefix + "_keys" }
func (c *Config) nodesBucket() string { return c.Prefix + "_nodes" }
func (c *Config) usageStream() string { return c.Prefix + "_usage" }
func (c *Config) usageSubject() string {
	return c.Prefix + ".usage"
}

// nodesSubject is where the stream has a name of the nodes' bucket.
func (c *Config) nodesSubject(name string) string { return "$KV." + c.nodesBucket() + "." + name }

// ownerSubject is where the owner answers that it is there.
func (c *Config) ownerSubject() string { return c.Prefix + ".owner" }

// A Link is a connection to the fleet's NATS. It never gives up.
type Link struct {
	cfg    Config
	nc     *nats.Conn
	js     jetstream.JetStream
	logger *slog.Logger

	mu   sync.Mutex
	line context.Context // ends when the connection is lost; then there is another one
	cut  context.CancelFunc
}

// Connect makes a link. It waits for nobody: a server that cannot be reached
// now is tried again and again. Name is shown in the server's lists.
func Connect(cfg Config, name string, logger *slog.Logger) (*Link, error) {
	logger = logger.With("nats", name)
	l := &Link{cfg: cfg, logger: logger}
	said := new(complaints) // a gateway's messages may have headers that cannot be read, one in each
	l.line, l.cut = context.WithCancel(context.Background())
	opts := append(natsfeed.ConnOptions(),
		nats.Name("ipallowd "+name),
		// Nothing is sent late: who publishes tries again.
		nats.ReconnectBufSize(-1),
		nats.ConnectHandler(func(nc *nats.Conn) { logger.Info("connected", "server", nc.ConnectedAddr()) }),
		nats.ReconnectHandler(func(nc *nats.Conn) { logger.Info("connected again", "server", nc.ConnectedAddr()) }),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			l.lost()
			logger.Warn("the connection is lost", "error", err)
		}),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			if unsaid, ok := said.say(err.Error()); ok {
				logger.Warn("NATS reports a fault", "error", err, "others_since_last_line", unsaid)
			}
		}),
	)
	own, err := cfg.Identity.options()
	if err != nil {
		return nil, err
	}
	if l.nc, err = nats.Connect(strings.Join(cfg.URLs, ","), append(opts, own...)...); err != nil {
		return nil, fmt.Errorf("--nats: %w", err)
	}
	if l.js, err = cfg.jetStream(l.nc); err != nil {
		l.nc.Close()
		return nil, fmt.Errorf("--nats: %w", err)
	}
	return l, nil
}

// lost ends what waits for an answer, which cannot come any more.
func (l *Link) lost() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cut()
	l.line, l.cut = context.WithCancel(context.Background())
}

// online returns a context that ends when the connection is lost, too.
func (l *Link) online(ctx context.Context) (context.Context, context.CancelFunc) {
	l.mu.Lock()
	line := l.line
	l.mu.Unlock()
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(line, func() { cancel(errNotConnected) })
	return ctx, func() { stop(); cancel(nil) }
}

// request returns a context for one request.
func (l *Link) request(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, off := l.online(ctx)
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	return ctx, func() { cancel(); off() }
}

// Connected reports whether there is a connection now.
func (l *Link) Connected() bool { return l.nc.IsConnected() }

// Close ends the connection.
func (l *Link) Close() {
	l.nc.Close()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cut()
}

// requestTimeout bounds each request to NATS.
const requestTimeout = 3 * time.Second

// errNotConnected says that there is no connection.
var errNotConnected = errors.New("NATS cannot be reached")

// await waits for a connection. It returns the error of ctx.
func (l *Link) await(ctx context.Context) error {
	status := l.nc.StatusChanged(nats.CONNECTED)
	defer l.nc.RemoveStatusListener(status)
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	for !l.nc.IsConnected() {
		select {
		case <-status:
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("%w (%w)", errNotConnected, ctx.Err())
		}
	}
	return nil
}

// A loop has sessions one after the other, each from a connection that is
// there to the first error. Unless it is to outlive the connection, a session's
// context ends with that.
type loop struct {
	link    *Link
	name    string
	outlive bool
	session func(context.Context) error // the last one returns a *FencedError
	note    func(error)                 // of each session's end, and nil when one is to begin
	stop    context.CancelFunc
	done    chan struct{}
}

const (
	minPause = 50 * time.Millisecond
	maxPause = 2 * time.Second
)

func (l *loop) start() {
	var ctx context.Context
	ctx, l.stop = context.WithCancel(context.Background())
	l.done = make(chan struct{})
	go l.run(ctx)
}

func (l *loop) run(ctx context.Context) {
	defer close(l.done)
	pause := minPause
	said := ""
	for {
		if !l.link.Connected() {
			l.note(errNotConnected)
		}
		if l.link.await(ctx) != nil {
			return
		}
		began := time.Now()
		sctx, cancel := ctx, func() {}
		if !l.outlive {
			sctx, cancel = l.link.online(ctx)
		}
		err := plain(l.session(sctx))
		if sctx.Err() != nil && !isFenced(err) {
			err = errNotConnected
		}
		cancel()
		if ctx.Err() != nil {
			return
		}
		if isFenced(err) {
			l.note(err)
			return
		}
		if time.Since(began) > 10*time.Second {
			pause, said = minPause, ""
		}
		l.note(err)
		if text := fmt.Sprint(err); text != said {
			said = text
			l.link.logger.Warn(l.name+" is interrupted and begins anew", "error", err)
		}
		sleep(ctx, pause)
		pause = min(2*pause, maxPause)
	}
}

// errNoJetStream says what nats.go calls "no responders" and the like.
var errNoJetStream = errors.New("the NATS server answers no JetStream requests: start it with JetStream " +
	"(nats-server -js, or jetstream {} in its configuration), or allow it to this account")

// plain returns an error in words that tell what to do.
func plain(err error) error {
	if errors.Is(err, nats.ErrNoResponders) || errors.Is(err, jetstream.ErrJetStreamNotEnabled) || errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount) {
		return fmt.Errorf("%w (%w)", errNoJetStream, err)
	}
	return err
}

// close ends the session that runs.
func (l *loop) close() {
	l.stop()
	<-l.done
}

func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// bare is a server's URL without what may be a secret: NATS takes a user name
// without a password for a token.
func bare(u *url.URL) string { return u.Scheme + "://" + u.Host }

// String returns the servers' URLs, without users and passwords.
func (l *Link) String() string {
	list := make([]string, len(l.cfg.URLs))
	for i, text := range l.cfg.URLs {
		if u, err := url.Parse(text); err == nil {
			list[i] = bare(u)
		}
	}
	return strings.Join(list, ", ")
}
