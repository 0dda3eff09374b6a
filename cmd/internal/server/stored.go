package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"os"
	"path/filepath"

	"github.com/ipallow/ipallow/cmd/internal/api"
	"github.com/ipallow/ipallow/cmd/internal/manage"
)

// A Stored is a data directory that no server runs on, for commands that read
// or change what is in it by the same rules as the server.
type Stored struct {
	Manager *manage.Service
	API     http.Handler // the management API; every token is right
	close   func(context.Context) error
}

// OpenStored opens the data directory of the configuration, which must exist,
// with the policy that is kept there.
func OpenStored(ctx context.Context, cfg Config, logger *slog.Logger) (*Stored, error) {
	if _, err := os.Stat(filepath.Join(cfg.Data, "ipallowd.db")); err != nil {
		return nil, fmt.Errorf("%s holds no keys (%w); name the server's directory with --data", cfg.Data, err)
	}
	cfg.NoLog = true
	cfg.LogRetention, cfg.LogMaxBytes = 0, math.MaxInt64/2 // what the log keeps is the server's to say
	s := &Server{host: newHost(cfg, logger)}
	if err := s.openDisk(); err != nil {
		return nil, err
	}
	if err := s.openStores(ctx); err != nil {
		if errors.Is(err, manage.ErrLocked) {
			err = fmt.Errorf("stop the server of %s first, or name it with --url: %w", cfg.Data, err)
		}
		return nil, errors.Join(err, s.Close(ctx))
	}
	h, err := api.New(api.Options{
		Manager: s.Manager, Logs: s.Logs, Logger: logger,
		Authenticate: func(string) bool { return true },
	})
	if err != nil {
		return nil, errors.Join(err, s.Close(ctx))
	}
	return &Stored{Manager: s.Manager, API: h, close: s.Close}, nil
}

// Close closes the files.
func (s *Stored) Close(ctx context.Context) error { return s.close(ctx) }
