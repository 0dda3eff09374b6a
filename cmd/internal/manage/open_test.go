package manage_test

import (
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

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
		"Audit":        func() error { _, err := s.Audit(ctx, manage.AuditQuery{}); return err },
		"Import":       func() error { _, err := s.Import(ctx, by, manyKeys(1)); return err },
		"Flush":        func() error { return manage.Flush(s) },
	} {
		require.ErrorIs(t, call(), manage.ErrClosed, name)
	}
	require.Equal(t, reflect.TypeFor[manage.Manager]().NumMethod(), 11, "a method is missing above")
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
	require.Len(t, names, 4, "database, WAL, shared memory and lock")
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
	st.exec("INSERT INTO goose_db_version (version_id, is_applied) VALUES (2, 1)")
	err := st.refused()
	require.ErrorIs(t, err, manage.ErrNewer)
	require.ErrorContains(t, err, st.Path)
	st.exec("DELETE FROM goose_db_version WHERE version_id = 2")
	st.open()

	// A first start that was interrupted before its first migration.
	st = newStore(t)
	st.exec(`CREATE TABLE goose_db_version (id INTEGER PRIMARY KEY AUTOINCREMENT, version_id INTEGER NOT NULL,
		is_applied INTEGER NOT NULL, tstamp TIMESTAMP DEFAULT (datetime('now')))`)
	st.exec("INSERT INTO goose_db_version (version_id, is_applied) VALUES (0, 1)")
	create(t, st.open(), "a")
}

// TestDamagedRows changes what decides about requests behind the program's
// back. Each is refused, and the key is named.
func TestDamagedRows(t *testing.T) {
	for _, damage := range []string{
		"UPDATE keys SET list = replace(list, '203.0.113.0/24', '203.0.112.0/24')",
		"UPDATE keys SET list = '' WHERE name = 'a'",
		"UPDATE keys SET list = list || '198.51.100.0/24' || char(10) WHERE name = 'a'",
		"UPDATE keys SET list = '', entries = 0 WHERE name = 'a'",
		"UPDATE keys SET list = substr(list, 1, length(list) - 1) WHERE name = 'a'",
		"UPDATE keys SET entries = 0 WHERE name = 'a'",
		"UPDATE keys SET scopes = 3",
		"UPDATE keys SET report_only = 1 WHERE name = 'a'",
		"UPDATE keys SET hash = zeroblob(32) WHERE name = 'a'",
		"UPDATE keys SET revoked = 0 WHERE name = 'gone'",
		"UPDATE keys SET version = 0 WHERE name = 'a'",
		"UPDATE keys SET id = 'aaaaaaaaaaaaaaaa' WHERE name = 'b'",
		"PRAGMA ignore_check_constraints = 1; UPDATE keys SET id = 'x' WHERE name = 'b'",
		"PRAGMA ignore_check_constraints = 1; UPDATE keys SET scopes = 300 WHERE name = 'b'",
		"PRAGMA ignore_check_constraints = 1; UPDATE keys SET hash = x'00' WHERE name = 'b'",
		"PRAGMA ignore_check_constraints = 1; UPDATE keys SET report_only = 7 WHERE name = 'b'",
	} {
		st := newStore(t)
		s := st.open()
		a := create(t, s, "a", office...).Key.ID
		b := create(t, s, "b").Key.ID
		gone := create(t, s, "gone", office...).Key.ID
		require.NoError(t, s.Revoke(t.Context(), by, gone))
		require.NoError(t, s.Close())
		st.exec(damage)
		err := st.refused()
		require.ErrorIs(t, err, manage.ErrDamaged, damage)
		named := false
		for _, id := range []string{a, b, gone, "aaaaaaaaaaaaaaaa", `"x"`} {
			named = named || strings.Contains(err.Error(), id)
		}
		require.True(t, named, "%s: %v", damage, err)
	}
}

// TestDamageWhileOpen finds damage when a change reads the row, and does not
// write it back as good.
func TestDamageWhileOpen(t *testing.T) {
	s := newStore(t).open()
	id := create(t, s, "a", office...).Key.ID
	require.NoError(t, manage.Exec(s, "UPDATE keys SET report_only = 1"))
	_, err := s.Edit(t.Context(), by, id, manage.KeyEdit{Name: ptr("b")})
	require.ErrorIs(t, err, manage.ErrDamaged)
	_, err = s.Allowlist(t.Context(), id)
	require.ErrorIs(t, err, manage.ErrDamaged)
	require.NoError(t, manage.Exec(s, "UPDATE audit SET after = '{'"))
	_, err = s.Audit(t.Context(), manage.AuditQuery{})
	require.ErrorIs(t, err, manage.ErrDamaged)
}

// TestFlippedBits flips bits anywhere in the file. Either the database is
// refused, or every key it still has is what it was.
func TestFlippedBits(t *testing.T) {
	st := newStore(t)
	s := st.open()
	want := make(map[string][]ipallow.Entry)
	hashes := make(map[string]keyring.Hash)
	for i := range 30 {
		c := create(t, s, fmt.Sprintf("key %d", i), office[:1+i%2]...)
		want[c.Key.ID] = c.List.Entries
		hashes[c.Key.ID] = st.Ring.Get(c.Key.ID).Hash
	}
	gone := create(t, s, "gone", office...)
	require.NoError(t, s.Revoke(t.Context(), by, gone.Key.ID))
	require.NoError(t, s.Close())
	st.exec("DELETE FROM audit; VACUUM") // what is left is what matters
	good, err := os.ReadFile(st.Path)
	require.NoError(t, err)
	var refused, taken int
	seed := uint64(time.Now().UnixNano())
	rnd := rand.New(rand.NewPCG(seed, 0))
	for range 120 {
		bad := append([]byte(nil), good...)
		at, bit := rnd.IntN(len(bad)), rnd.IntN(8)
		bad[at] ^= 1 << bit
		os.Remove(st.Path + "-wal")
		os.Remove(st.Path + "-shm")
		require.NoError(t, os.WriteFile(st.Path, bad, 0o600))
		st.fresh()
		s, err := manage.Open(t.Context(), st.Options)
		if err != nil {
			refused++
			require.Zero(t, st.Ring.Len())
			continue
		}
		taken++
		for k := range st.Ring.All {
			require.Equal(t, hashes[k.ID], k.Hash, "seed %d, byte %d, bit %d", seed, at, bit)
			require.Equal(t, keyring.Read, k.Scopes)
			require.False(t, k.ReportOnly)
			entries, _ := st.Engine.Snapshot().Entries(k.ID)
			require.Equal(t, want[k.ID], entries, "seed %d, byte %d, bit %d", seed, at, bit)
		}
		require.Nil(t, st.Ring.Get(gone.Key.ID))
		s.Close()
	}
	t.Logf("%d refused, %d taken, none other than it was", refused, taken)
	require.Positive(t, refused)
	require.Positive(t, taken)
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

func TestLastUsed(t *testing.T) {
	clock := &clock{start}
	st := newStore(t)
	st.Now = clock.Now
	s := st.open()
	a, b := create(t, s, "a"), create(t, s, "b")
	require.True(t, a.Key.LastUsed.IsZero())
	used := start.Add(time.Hour + time.Millisecond)
	clock.now = used
	st.Ring.Get(a.Key.ID).Used(used)
	want := a.Key
	want.LastUsed = used.Truncate(time.Second)
	shown := func(id string, want manage.Key) {
		t.Helper()
		k, err := s.Key(t.Context(), id)
		require.NoError(t, err)
		require.Equal(t, want, k)
		page, err := s.Keys(t.Context(), manage.KeyQuery{Search: id, Revoked: true})
		require.NoError(t, err)
		require.Equal(t, []manage.Key{want}, page.Keys)
	}
	shown(a.Key.ID, want) // at once
	shown(b.Key.ID, b.Key)
	require.NoError(t, manage.Flush(s))
	require.NoError(t, s.Close())
	require.Len(t, st.rows("SELECT id FROM used"), 1, "only what changed is stored")
	s = st.open()
	shown(a.Key.ID, want)

	// The newer one is shown, and an older mark takes nothing back.
	st.Ring.Get(a.Key.ID).Used(start)
	shown(a.Key.ID, want)
	require.NoError(t, manage.Flush(s))
	shown(a.Key.ID, want)
	st.Ring.Get(a.Key.ID).Used(used.Add(time.Minute))
	want.LastUsed = used.Add(time.Minute).Truncate(time.Second)
	shown(a.Key.ID, want)

	// It is part of the answers to changes, and survives a revocation.
	k, err := s.Edit(t.Context(), by, a.Key.ID, manage.KeyEdit{Description: ptr("x")})
	require.NoError(t, err)
	require.Equal(t, want.LastUsed, k.LastUsed)
	want = k
	require.NoError(t, s.Revoke(t.Context(), by, a.Key.ID))
	want.Revoked = clock.now
	shown(a.Key.ID, want)
	require.NoError(t, s.Close()) // stores the rest
	s = st.open()
	shown(a.Key.ID, want)
	trail, err := s.Audit(t.Context(), manage.AuditQuery{})
	require.NoError(t, err)
	require.Len(t, trail.Records, 4, "a use is no change")
}

// TestFlushInParts stores more times than one transaction takes.
func TestFlushInParts(t *testing.T) {
	st := newStore(t)
	s := st.open()
	_, err := s.Import(t.Context(), by, manyKeys(4500))
	require.NoError(t, err)
	markAll(st.Ring, start.Unix())
	require.NoError(t, s.Close())
	require.Equal(t, [][]string{{"4500", fmt.Sprint(start.UnixNano())}}, st.rows("SELECT count(*), min(at) FROM used WHERE at = "+fmt.Sprint(start.UnixNano())))
}
