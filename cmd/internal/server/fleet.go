package server

import (
	"context"
	"path/filepath"

	"github.com/ipallow/ipallow/cmd/internal/fleet"
)

// fleetSide is what a management node has of its fleet.
type fleetSide struct {
	link      *fleet.Link
	publisher *fleet.Publisher
	drain     *fleet.Drain
}

// openFleet begins to publish keys and to collect usage records, if there is a
// fleet. It waits for nobody.
func (s *Server) openFleet() error {
	if !s.cfg.Fleet.On() {
		return nil
	}
	link, err := fleet.Connect(s.cfg.Fleet, "management", s.logger)
	if err != nil {
		return err
	}
	f := &fleetSide{link: link}
	f.publisher = fleet.NewPublisher(link, s.Manager, s.cfg.policy())
	f.drain = fleet.NewDrain(link, s.Logs, s.Ring, filepath.Join(s.cfg.Data, "usage-quarantine"))
	s.fleet = f
	s.onClose(func(context.Context) error {
		f.drain.Close()
		f.publisher.Close()
		f.link.Close()
		return nil
	})
	return nil
}
