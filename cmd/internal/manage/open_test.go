package manage_test

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow"
	"github.com/ipallow/ipallow/cmd/internal/keyring"
	"github.com/ipallow/ipallow/cmd/internal/manage"
)

// wideEngine returns an engine whose lists may be long.
func wideEngine(entries int) *ipallow.Engine {
	p := ipallow.DefaultPolicy()
	p.MaxEntries = entries
	return ipallow.New(&ipallow.Options{Policy: &p, DenyUntilLoaded: true})
}

// sql runs fn on the closed database.
func (s *store) sql(fn func(*sql.DB)) {
	s.t.Helper()
	db, err := sql.Open("sqlite", s.Path)
	require.NoError(s.t, err)
	defer db.Close()
	fn(db)
}

// exec runs statements on the closed database.
func (s *store) exec(statement string, args ...any) {
	s.t.Helper()
	s.sql(func(db *sql.DB) {
		res, err := db.Exec(statement, args...)
		require.NoError(s.t, err)
		if n, err := res.RowsAffected(); strings.HasPrefix(statement, "UPDATE") {
			require.NoError(s.t, err)
			require.Positive(s.t, n, "%s changed nothing", statement)
		}
	})
}

// rows returns the rows of a query as texts.
func (s *store) rows(query string) (out [][]string) {
	s.t.Helper()
	s.sql(func(db *sql.DB) {
		rows, err := db.Query(query)
		require.NoError(s.t, err)
		defer rows.Close()
		columns, err := rows.Columns()
		require.NoError(s.t, err)
		for rows.Next() {
			cells, dest := make([]string, len(columns)), make([]any, len(columns))
			for i := range cells {
				dest[i] = &cells[i]
			}
			require.NoError(s.t, rows.Scan(dest...))
			out = append(out, cells)
		}
		require.NoError(s.t, rows.Err())
	})
	return out
}

// refused opens the database and returns the error that it must give; the
// engine and the ring must be as they were.
func (s *store) refused() error {
	s.t.Helper()
	s.fresh()
	_, err := manage.Open(context.Background(), s.Options)
	require.Error(s.t, err)
	require.Zero(s.t, s.Ring.Len())
	require.False(s.t, s.Engine.Snapshot().Loaded())
	return err
}

func TestReopen(t *testing.T) {
	clock := &clock{start}
	st := newStore(t)
	st.Now = clock.Now
	s := st.open()
	c, err := s.Create(t.Context(), by, manage.NewKey{Name: metacharacters, Description: strings.Repeat("é\n", 500),
		Scopes: []string{"read", "write"}, ReportOnly: true, Allowlist: office})
	require.NoError(t, err)
	open := create(t, s, "open")
	gone := create(t, s, "gone", office...)
	require.NoError(t, s.Revoke(t.Context(), by, gone.Key.ID))
	want, err := s.Keys(t.Context(), manage.KeyQuery{Revoked: true})
	require.NoError(t, err)
	trail, err := s.Audit(t.Context(), manage.AuditQuery{})
	require.NoError(t, err)
	require.NoError(t, s.Close())

	s = st.open()
	got, err := s.Keys(t.Context(), manage.KeyQuery{Revoked: true})
	require.NoError(t, err)
	require.Equal(t, want, got)
	again, err := s.Audit(t.Context(), manage.AuditQuery{})
	require.NoError(t, err)
	require.Equal(t, trail, again)
	l, err := s.Allowlist(t.Context(), c.Key.ID)
	require.NoError(t, err)
	require.Equal(t, c.List, l)
	require.Equal(t, 2, st.Ring.Len())
	k := st.Ring.Authenticate(c.Token)
	require.Equal(t, keyring.Read|keyring.Write, k.Scopes)
	require.True(t, k.ReportOnly)
	require.NotNil(t, st.Ring.Authenticate(open.Token))
	require.Nil(t, st.Ring.Authenticate(gone.Token))
	require.Equal(t, 1, st.Engine.Snapshot().Len())
	require.True(t, st.Engine.Snapshot().Loaded())
	require.Equal(t, ipallow.Denied, st.Engine.Check(c.Key.ID, outside))
	require.Equal(t, ipallow.Allowed, st.Engine.Check(c.Key.ID, inside))

	// A ring and an engine that hold more than the database are put right.
	require.NoError(t, s.Close())
	stray := &keyring.Key{ID: keyring.NewID()}
	st.Ring.Put(stray)
	entries, _ := st.Engine.Snapshot().Entries(c.Key.ID)
	require.NoError(t, st.Engine.Set(stray.ID, entries))
	s, err = manage.Open(t.Context(), st.Options)
	require.NoError(t, err)
	require.NoError(t, s.Close())
	require.Equal(t, 2, st.Ring.Len())
	require.Equal(t, 1, st.Engine.Snapshot().Len())
}

func TestClosed(t *testing.T) {
	s := newStore(t).open()
	id := create(t, s, "a").Key.ID
	require.NoError(t, s.Close())
	require.NoError(t, s.Close())
	ctx := t.Context()
	for name, call := range map[string]func() error{
		"Create": func() error {
			_, err := s.Create(ctx, by, manage.NewKey{Name: "a", Scopes: []string{"read"}})
			return err
		},
		"Keys":         func() error { _, err := s.Keys(ctx, manage.KeyQuery{}); return err },
		"Key":          func() error { _, err := s.Key(ctx, id); return err },
		"Edit":         func() error { _, err := s.Edit(ctx, by, id, manage.KeyEdit{}); return err },
		"Rotate":       func() error { _, err := s.Rotate(ctx, by, id); return err },
		"Revoke":       func() error { return s.Revoke(ctx, by, id) },
		"Allowlist":    func() error { _, err := s.Allowlist(ctx, id); return err },
		"SetAllowlist": func() error { _, err := s.SetAllowlist(ctx, by, id, manage.ListEdit{}); return err },
		"Try":          func() error { _, err := s.Try(ctx, by, id, nil, nil); return err },
		"Seen":         func() error { _, err := s.Seen(ctx, id); return err },
		"Blocked":      func() error { _, err := s.Blocked(ctx, []string{id}); return err },
		"NodeRemoved":  func() error { return s.NodeRemoved(ctx, by, "gate") },
		"Audit":        func() error { _, err := s.Audit(ctx, manage.AuditQuery{}); return err },
		"Import":       func() error { _, err := s.Import(ctx, by, manyKeys(1)); return err },
		"Flush":        func() error { return manage.Flush(s) },
	} {
		require.ErrorIs(t, call(), manage.ErrClosed, name)
	}
	require.Equal(t, reflect.TypeFor[manage.Manager]().NumMethod(), 13, "a method is missing above")
}

func TestFileModes(t *testing.T) {
	st := newStore(t)
	s := st.open()
	create(t, s, "a")
	modes := func() {
		t.Helper()
		names, err := filepath.Glob(st.Path + "*")
		require.NoError(t, err)
		require.GreaterOrEqual(t, len(names), 2)
		for _, name := range names {
			info, err := os.Stat(name)
			require.NoError(t, err)
			require.Equal(t, os.FileMode(0o600), info.Mode().Perm(), name)
		}
	}
	names, err := filepath.Glob(st.Path + "*")
	require.NoError(t, err)
	require.Len(t, names, 5, "database, WAL, shared memory, lock and what was acknowledged")
	modes()
	require.NoError(t, s.Close())
	require.NoError(t, os.Chmod(st.Path, 0o644))
	s = st.open()
	create(t, s, "b")
	modes()
}

// TestPaths opens databases whose names mean something in a URL.
func TestPaths(t *testing.T) {
	for _, name := range []string{"a b", "a?mode=memory", "a#b", "a%20b", "ä:;&'\"", "file:x"} {
		st := newStore(t)
		st.Path = filepath.Join(filepath.Dir(st.Path), name)
		s := st.open()
		create(t, s, "a")
		require.NoError(t, s.Close())
		require.FileExists(t, st.Path)
		st.open()
		require.Equal(t, 1, st.Ring.Len(), name)
	}
	st := newStore(t)
	t.Chdir(filepath.Dir(st.Path))
	st.Path = "relative.db"
	require.NoError(t, st.open().Close())
	require.FileExists(t, "relative.db")

	st.Path = filepath.Join("missing", "db")
	require.ErrorIs(t, st.refused(), os.ErrNotExist)
	require.NoError(t, os.Mkdir("dir", 0o755))
	st.Path = "dir"
	require.ErrorContains(t, st.refused(), "is not a file")
	st.Path = ""
	require.ErrorContains(t, st.refused(), "no path")
}

func TestOptions(t *testing.T) {
	st := newStore(t)
	_, err := manage.Open(t.Context(), st.Options)
	require.ErrorContains(t, err, "engine")
	st.fresh()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = manage.Open(ctx, st.Options)
	require.ErrorIs(t, err, context.Canceled)
	require.False(t, st.Engine.Snapshot().Loaded())
	st.open() // what was begun is finished
}

// openChild tells what opening the database gives.
func openChild(path string) {
	o := manage.Options{Path: path, Engine: ipallow.New(nil), Ring: new(keyring.Ring)}
	_, err := manage.Open(context.Background(), o)
	fmt.Println(err)
	os.Exit(0)
}

func TestSecondProcess(t *testing.T) {
	exe, err := os.Executable()
	require.NoError(t, err)
	st := newStore(t)
	s := st.open()
	second := func() string {
		cmd := exec.Command(exe, "-test.run=^$")
		cmd.Env = append(os.Environ(), childEnv+"=open:"+st.Path)
		out, err := cmd.CombinedOutput()
		require.NoError(t, err)
		return string(out)
	}
	require.Contains(t, second(), manage.ErrLocked.Error())
	// Nor a second time in the same process; and that attempt does not
	// release the first one's lock.
	_, err = manage.Open(t.Context(), manage.Options{Path: st.Path, Engine: ipallow.New(nil), Ring: new(keyring.Ring)})
	require.ErrorIs(t, err, manage.ErrLocked)
	require.Contains(t, second(), manage.ErrLocked.Error())
	create(t, s, "a")
	require.NoError(t, s.Close())
	require.Equal(t, "<nil>\n", second())
	st.open()
	require.Equal(t, 1, st.Ring.Len())
}

func TestOtherDatabases(t *testing.T) {
	st := newStore(t)
	require.NoError(t, os.WriteFile(st.Path, []byte(strings.Repeat("this is a text\n", 1000)), 0o600))
	require.ErrorContains(t, st.refused(), "not a database")

	st = newStore(t)
	st.exec("CREATE TABLE cats (name TEXT)")
	require.ErrorIs(t, st.refused(), manage.ErrForeign)

	st = newStore(t)
	s := st.open()
	create(t, s, "a", office...)
	require.NoError(t, s.Close())
	st.exec("INSERT INTO goose_db_version (version_id, is_applied) VALUES (99, 1)")
	err := st.refused()
	require.ErrorIs(t, err, manage.ErrNewer)
	require.ErrorContains(t, err, st.Path)
	st.exec("DELETE FROM goose_db_version WHERE version_id = 99")
	st.open()

	// A first start that was interrupted before its first migration.
	st = newStore(t)
	st.exec(`CREATE TABLE goose_db_version (id INTEGER PRIMARY KEY AUTOINCREMENT, version_id INTEGER NOT NULL,
		is_applied INTEGER NOT NULL, tstamp TIMESTAMP DEFAULT (datetime('now')))`)
	st.exec("INSERT INTO goose_db_version (version_id, is_applied) VALUES (0, 1)")
	create(t, st.open(), "a")
}

// TestPolicyTightened starts with a policy that a stored list no longer keeps.
func TestPolicyTightened(t *testing.T) {
	st := newStore(t)
	s := st.open()
	id := create(t, s, "a", list("20.0.0.0/9")...).Key.ID
	create(t, s, "b", office...)
	require.NoError(t, s.Close())
	p := ipallow.DefaultPolicy()
	p.MinBits4 = 16
	st.Engine, st.Ring = ipallow.New(&ipallow.Options{Policy: &p, DenyUntilLoaded: true}), new(keyring.Ring)
	_, err := manage.Open(t.Context(), st.Options)
	var fault *ipallow.KeyError
	require.ErrorAs(t, err, &fault)
	require.Equal(t, id, fault.Key)
	require.ErrorContains(t, err, "policy")
	require.Zero(t, st.Ring.Len())
	require.False(t, st.Engine.Snapshot().Loaded())
	st.open()
	require.Equal(t, 2, st.Ring.Len())
}
