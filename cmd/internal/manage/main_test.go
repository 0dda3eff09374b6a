package manage_test

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow"
	"github.com/ipallow/ipallow/cmd/internal/keyring"
	"github.com/ipallow/ipallow/cmd/internal/manage"
)

// childEnv says what a process that a test starts is to do, and with which
// database.
const childEnv = "IPALLOW_MANAGE_CHILD"

func TestMain(m *testing.M) {
	if what, path, ok := strings.Cut(os.Getenv(childEnv), ":"); ok {
		switch what {
		case "kill":
			killChild(path) // never returns
		case "open":
			openChild(path) // never returns
		}
	}
	code := m.Run()
	if stacks := leaked(); code == 0 && stacks != "" {
		fmt.Fprintln(os.Stderr, "goroutines of a Service are left after all tests:\n"+stacks)
		code = 1
	}
	os.Exit(code)
}

// leaked returns the stacks of goroutines that belong to a Service or its
// database, giving them a moment to end.
func leaked() string {
	var found string
	for range 200 {
		buf := make([]byte, 1<<20)
		buf = buf[:runtime.Stack(buf, true)]
		found = ""
		for _, g := range strings.Split(string(buf), "\n\n") {
			if strings.Contains(g, "manage.(*Service)") || strings.Contains(g, "database/sql.") {
				found += g + "\n\n"
			}
		}
		if found == "" {
			return ""
		}
		time.Sleep(10 * time.Millisecond)
	}
	return found
}

var (
	by      = manage.Actor{Name: "token"}
	inside  = netip.MustParseAddr("203.0.113.7")
	outside = netip.MustParseAddr("198.51.100.7")
	office  = []manage.ListEntry{{Entry: "203.0.113.0/24", Label: "office"}, {Entry: "2001:db8::1"}}
	start   = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
)

// list returns a list of entries without labels.
func list(entries ...string) []manage.ListEntry {
	var l []manage.ListEntry
	for _, e := range entries {
		l = append(l, manage.ListEntry{Entry: e})
	}
	return l
}

// texts returns the entries of a list as they are shown.
func texts(entries []ipallow.Entry) []manage.ListEntry {
	l := make([]manage.ListEntry, len(entries))
	for i, e := range entries {
		l[i] = manage.ListEntry{Entry: e.String(), Label: e.Label}
	}
	return l
}

// create makes a key with the scope read.
func create(t testing.TB, s *manage.Service, name string, entries ...manage.ListEntry) manage.Created {
	t.Helper()
	c, err := s.Create(context.Background(), by, manage.NewKey{Name: name, Scopes: []string{"read"}, Allowlist: entries})
	require.NoError(t, err)
	return c
}

// A store is a database that a test opens several times.
type store struct {
	manage.Options
	t testing.TB
}

func newStore(t testing.TB) *store {
	return &store{t: t, Options: manage.Options{Path: filepath.Join(t.TempDir(), "ipallowd.db")}}
}

// fresh gives the next Open an empty engine and ring, as a new process has.
func (s *store) fresh() {
	s.Engine = ipallow.New(&ipallow.Options{DenyUntilLoaded: true})
	s.Ring = new(keyring.Ring)
}

// open opens the database as a new process does.
func (s *store) open() *manage.Service {
	s.t.Helper()
	s.fresh()
	svc, err := manage.Open(context.Background(), s.Options)
	require.NoError(s.t, err)
	s.t.Cleanup(func() { svc.Close() })
	return svc
}

// A clock is a time that a test moves.
type clock struct{ now time.Time }

func (c *clock) Now() time.Time { return c.now }

// seenLog is a usage log of fixed content.
type seenLog struct {
	seen  map[string][]manage.SeenAddress
	err   error
	since time.Time // what was asked for last
	asked int
}

func (l *seenLog) Seen(ctx context.Context, id string, since time.Time) ([]manage.SeenAddress, error) {
	l.since = since
	l.asked++
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	return slices.Clone(l.seen[id]), l.err
}

func (l *seenLog) Blocked(_ context.Context, ids []string, since time.Time) (map[string]int64, error) {
	l.since = since
	n := make(map[string]int64)
	for _, id := range ids {
		for _, a := range l.seen[id] {
			n[id] += a.Blocked
		}
	}
	return n, l.err
}

func ptr[T any](v T) *T { return &v }
