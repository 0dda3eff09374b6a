package server

import (
	"context"
	"path/filepath"
	"runtime/debug"
	"time"

	"github.com/ipallow/ipallow/cmd/internal/fleet"
	"github.com/ipallow/ipallow/cmd/internal/keyring"
)

// openFleet begins to publish keys and to collect usage records, if there is a
// fleet. It waits for nobody.
func (s *Server) openFleet() error {
	if !s.cfg.Fleet.On() {
		return nil
	}
	s.cfg.Fleet.Server = s.cfg.Name
	link, err := fleet.Connect(s.cfg.Fleet, "management", s.logger)
	if err != nil {
		return err
	}
	publisher := fleet.NewPublisher(link, s.Manager, s.cfg.policy())
	s.fleet = fleet.NewCenter(link, publisher,
		fleet.NewDrain(link, publisher, s.Logs, s.Ring, filepath.Join(s.cfg.Data, "usage-quarantine")),
		s.reporting(link))
	stop := make(chan struct{})
	s.onClose(func(context.Context) error { close(stop); return nil })
	go s.settle(publisher, stop)
	s.metrics.registry.MustRegister(fleet.CenterCollector{Center: s.fleet})
	s.onClose(func(context.Context) error { s.fleet.Close(); return nil })
	return nil
}

// ownerWait is how long the gateway of a management node waits for the fleet's
// word at the start. A database that the fleet knows to be old serves nobody;
// while NATS is down, requests are answered by what the database says.
const ownerWait = 3 * time.Second

// settle has the gateway begin when the server is the fleet's owner, or when it
// cannot be known.
func (s *Server) settle(p *fleet.Publisher, stop <-chan struct{}) {
	select {
	case <-p.Owned():
	case <-p.Lost(): // Refused says so
	case <-time.After(ownerWait):
	case <-stop:
	}
	s.settled.Store(true)
}

// serves reports whether the gateway may answer by what the database says.
func (s *Server) serves() bool {
	return !s.cfg.Fleet.On() || s.settled.Load() && s.Manager.Refused() == nil
}

// reporting returns how the management node reports. It enforces what its own
// database says, so it is never behind.
func (s *Server) reporting(link *fleet.Link) func() fleet.Report {
	static := s.cfg.report(fleet.Management, s.url(s.listeners[0]))
	return func() fleet.Report {
		r := static
		r.Source, r.Staleness, r.Connected, r.Time = "database", fleet.Millis(0), link.Connected(), time.Now().UTC()
		err := s.isReady()
		r.Ready, r.Reason = err == nil, fleet.Reason(err)
		r.Keys, r.Limited = s.Ring.Len(), s.Engine.Snapshot().Len()
		if s.fleet != nil {
			r.Revision, r.Bucket = s.fleet.Publisher.Revision(), s.fleet.Publisher.Created()
		}
		if s.Log != nil {
			r.Backlog = s.Log.Stats().Pending
		}
		return r
	}
}

// reporting returns how a gateway reports.
func (n *Node) reporting() func() fleet.Report {
	static := n.cfg.report(fleet.Gateway, n.url(n.listeners[0]))
	return func() fleet.Report {
		r := static
		st := n.follower.Status()
		err := n.isReady()
		r.Ready, r.Reason = err == nil, fleet.Reason(err)
		r.Bucket, r.Confirm, r.Confirmed = st.Created, st.Confirmed, st.ConfirmedAt
		r.Revision, r.Staleness, r.Source, r.Connected = st.Revision, fleet.Millis(st.Staleness), string(st.Source), n.feed.Connected()
		r.Keys, r.Limited, r.Missing = n.Ring.Len(), n.Engine.Snapshot().Len(), st.Missing
		faults, _, named := n.follower.Faults()
		r.NameFaults(faults, named)
		r.Backlog, r.Time = n.Log.Stats().Pending, time.Now().UTC()
		return r
	}
}

// report returns what of a report does not change.
func (c *Config) report(role fleet.Role, listen string) fleet.Report {
	return fleet.Report{
		Name: c.Name, Role: role, Instance: keyring.NewID(), Version: version(), Started: time.Now().UTC().Truncate(time.Second), Listen: listen,
	}
}

// version returns the program's version: that of a release, or the commit.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return s.Value[:min(len(s.Value), 12)]
		}
	}
	return "unknown"
}
