package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/ipallow/ipallow"
	"github.com/ipallow/ipallow/cmd/internal/admin"
	"github.com/ipallow/ipallow/cmd/internal/fleet"
	"github.com/ipallow/ipallow/cmd/internal/keyring"
	"github.com/ipallow/ipallow/usagelog"
)

// A Node is a running gateway without a database: what it knows of keys and
// lists comes from a fleet's bucket, and its usage records go to the fleet's
// stream. StartNode makes one.
type Node struct {
	host

	Engine *ipallow.Engine
	Ring   *keyring.Ring
	Log    *usagelog.Writer

	feed, link *fleet.Link // two: a feed may make its connection anew
	follower   *fleet.Follower

	metricsToken admin.Token
	guarded      bool // the metrics, by it
}

const (
	// startWait is how long StartNode waits for the first lists, so that what
	// is wrong with the checkpoint is told at once.
	startWait = time.Second

	// flushWait is how long a node that ends waits for the stream to take its
	// last usage records. They wait in the write-ahead files otherwise.
	flushWait = 3 * time.Second
)

// StartNode opens everything, listens, and serves until Close. It waits for
// NATS a moment only: until the first lists have come, requests are answered
// with 503. The error names the flag or the file to correct.
func StartNode(ctx context.Context, cfg Config, logger *slog.Logger) (*Node, error) {
	if err := errors.Join(cfg.validate(cfg.nodeAddresses()), cfg.validateNode()); err != nil {
		return nil, err
	}
	n := &Node{host: newHost(cfg, logger)}
	if err := n.start(ctx); err != nil {
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
		defer cancel()
		return nil, errors.Join(err, n.Close(stop))
	}
	return n, nil
}

func (n *Node) start(ctx context.Context) error {
	var err error
	if n.source, err = n.cfg.source(); err != nil {
		return err
	}
	if err := os.MkdirAll(n.cfg.Data, 0o700); err != nil {
		return fmt.Errorf("--data: %w", err)
	}
	if err := n.openDisk(); err != nil {
		return err
	}
	if n.metricsToken, n.guarded, err = n.cfg.metricsToken(); err != nil {
		return err
	}
	for _, l := range n.cfg.nodeAddresses() {
		if err := n.listen(l); err != nil {
			return err
		}
	}
	policy := fleet.NodePolicy()
	n.Engine = ipallow.New(&ipallow.Options{Policy: &policy, DenyUntilLoaded: true})
	n.Ring = new(keyring.Ring)
	if n.feed, err = n.connect("gateway "+n.cfg.Name+" (keys)", false); err != nil {
		return err
	}
	if n.link, err = n.connect("gateway "+n.cfg.Name, true); err != nil {
		return err
	}
	if err := n.openLog(); err != nil {
		return err
	}
	n.follower = fleet.NewFollower(n.Engine, n.Ring, n.logger)
	n.follower.RefuseStale = n.cfg.RefuseStale
	n.metrics = newMetrics(n.Engine, n.Ring, n.Log, n.disk)
	n.metrics.registry.MustRegister(fleet.FeedCollector{Follower: n.follower, MaxStale: n.cfg.MaxStale})
	if err := n.newGateway(n.Engine, n.Ring, n.Log, n.follower.Loaded, n.follower.Usable); err != nil {
		return err
	}
	if err := n.follow(ctx); err != nil {
		return err
	}
	var reporter *fleet.Reporter
	n.onClose(func(ctx context.Context) error { // when nobody is served any more
		if reporter == nil {
			return nil
		}
		if err := reporter.Leave(ctx); err != nil { // such as without NATS
			n.logger.Warn("the management node could not be told that this gateway stops: until it is removed there, changes wait for it by name", "error", err)
		}
		return nil
	})
	if err := n.serveGateway(); err != nil {
		return err
	}
	if err := n.serveManagement("status", n.status()); err != nil {
		return err
	}
	if len(n.listeners) > 2 {
		n.serveAuthz(n.listeners[2])
	}
	n.metrics.registry.MustRegister(listenerCollector(n.bounds))
	n.ready.Store(true)
	reporter = fleet.NewReporter(n.link, n.reporting())
	return nil
}

// connect connects, for keys or for records and reports.
func (n *Node) connect(name string, records bool) (*fleet.Link, error) {
	cfg := n.cfg.Fleet
	cfg.Records = records
	link, err := fleet.Connect(cfg, name, n.logger)
	if err == nil {
		n.onClose(func(context.Context) error { link.Close(); return nil })
	}
	return link, err
}

// openLog opens the usage log, whose records go to the fleet's stream.
func (n *Node) openLog() error {
	sink, err := fleet.NewSink(n.link, n.cfg.Name)
	if err != nil {
		return fmt.Errorf("--name: %w", err)
	}
	if n.Log, err = n.openUsageLog(sink); err != nil {
		return err
	}
	n.onClose(func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, flushWait)
		defer cancel()
		return n.closeLog(ctx, n.Log)
	})
	return nil
}

// follow begins to follow the bucket, and waits a moment for the first lists.
func (n *Node) follow(ctx context.Context) error {
	follow, stop := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan error, 1)
	go func() {
		err := n.follower.Follow(follow, n.feed, filepath.Join(n.cfg.Data, "checkpoint"))
		if err != nil && follow.Err() == nil {
			n.failed <- err
		}
		ended <- err
	}()
	n.onClose(func(context.Context) error {
		stop()
		<-ended
		n.follower.Close()
		return nil
	})
	timer := time.NewTimer(startWait)
	defer timer.Stop()
	select {
	case <-n.follower.First():
	case <-timer.C:
	case <-ctx.Done():
		return ctx.Err()
	case err := <-n.failed:
		return err
	}
	return nil
}

// status is the handler of the status listener.
func (n *Node) status() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { status(w, http.StatusOK, "ok", "") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		var r fleet.Report
		faults, _, named := n.follower.Faults()
		r.NameFaults(faults, named)
		h, code := health{Status: "ready", Faults: r.Faults, Faulty: r.Faulty}, http.StatusOK
		if err := n.isReady(); err != nil {
			h.Status, h.Reason, code = "not ready", err.Error(), http.StatusServiceUnavailable
		}
		if err := n.disk.Room(0); err != nil && code == http.StatusOK {
			h.Status, h.Reason = "degraded", notStored(err)
		}
		h.write(w, code)
	})
	metrics := n.metrics.handler()
	if n.guarded {
		metrics = n.guardMetrics(n.metricsToken, metrics)
	}
	mux.Handle("GET /metrics", metrics)
	return mux
}

// isReady returns why the node should get no requests now. It goes on to answer
// those that it gets by what it last knew, as long as RefuseStale permits.
func (n *Node) isReady() error {
	if !n.ready.Load() {
		return errors.New("starting or stopping")
	}
	return n.follower.Ready(n.cfg.MaxStale)
}

// Banner tells the operator where everything is.
func (n *Node) Banner() string {
	behind := "answers GET /v1/ping; --upstream URL puts your API behind it"
	if n.cfg.Upstream != "" {
		behind = "in front of " + n.cfg.Upstream
	}
	keys := fmt.Sprintf("%d keys", n.Ring.Len())
	state := "is ready"
	if !n.follower.Loaded() {
		state, keys = "waits for the keys and answers 503 meanwhile", "none yet"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "ipallowd gateway %s %s\n\n", n.cfg.Name, state)
	fmt.Fprintf(&b, "  gateway     %s (%s)\n", n.url(n.listeners[0]), behind)
	if len(n.listeners) > 2 {
		fmt.Fprintf(&b, "  ext_authz   %s (gRPC)\n", n.listeners[2].Addr())
	}
	fmt.Fprintf(&b, "  status      %s/readyz, /healthz, /metrics\n", n.url(n.listeners[1]))
	fmt.Fprintf(&b, "  keys        %s, from %s\n\n", keys, n.feed)
	return b.String()
}
