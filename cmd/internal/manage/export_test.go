package manage

import (
	"context"
	"time"

	"modernc.org/sqlite"
)

// Flush does what the Service does every ten seconds.
func Flush(s *Service) error {
	<-s.mu
	defer func() { s.mu <- struct{}{} }()
	if s.closed.Load() {
		return ErrClosed
	}
	return s.flush(context.Background())
}

// Sweep clears the engine of keys that were revoked before a moment.
func Sweep(s *Service, before time.Time) {
	<-s.mu
	defer func() { s.mu <- struct{}{} }()
	s.sweep(before)
}

// SetMaxKeys sets the limit of active keys.
func SetMaxKeys(s *Service, n int) { s.maxKeys = n }

// SetImportChunk sets how many keys an import stores in one transaction.
func SetImportChunk(s *Service, n int) { s.chunk = n }

// Exec runs a statement on the connection that writes.
func Exec(s *Service, query string) error {
	_, err := s.db.writer.Exec(query)
	return err
}

// FailCommits makes SQLite refuse every COMMIT, or take them again.
func FailCommits(s *Service, fail bool) error {
	conn, err := s.db.writer.Conn(context.Background())
	if err != nil {
		return err
	}
	defer conn.Close()
	return conn.Raw(func(c any) error {
		var hook sqlite.CommitHookFn
		if fail {
			hook = func() int32 { return 1 }
		}
		c.(sqlite.HookRegisterer).RegisterCommitHook(hook)
		return nil
	})
}
