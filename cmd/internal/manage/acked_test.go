package manage_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow"
	"github.com/ipallow/ipallow/cmd/internal/manage"
)

// The files of a database, as a kill -9 leaves them.
var storedFiles = []string{"", "-wal", "-shm", "-acked"}

// snapshot returns the files' content at this moment; nil: there is none.
func (s *store) snapshot() map[string][]byte {
	s.t.Helper()
	files := make(map[string][]byte)
	for _, suffix := range storedFiles {
		b, err := os.ReadFile(s.Path + suffix)
		if !errors.Is(err, os.ErrNotExist) {
			require.NoError(s.t, err)
			files[suffix] = b
		}
	}
	return files
}

// put makes a store of a directory of its own with these files.
func put(t testing.TB, dir string, files map[string][]byte) *store {
	t.Helper()
	require.NoError(t, os.RemoveAll(dir))
	require.NoError(t, os.Mkdir(dir, 0o700))
	s := &store{t: t, Options: manage.Options{Path: filepath.Join(dir, "ipallowd.db")}}
	for suffix, b := range files {
		require.NoError(t, os.WriteFile(s.Path+suffix, b, 0o600))
	}
	return s
}

// lost is a database with a revoked and a narrowed key, its files when all was
// acknowledged, and what they were the day before.
type lost struct {
	gone, narrow   manage.Created
	now, yesterday map[string][]byte
}

func newLost(t *testing.T) *lost {
	t.Helper()
	st := newStore(t)
	s := st.open()
	l := &lost{gone: create(t, s, "gone", office...), narrow: create(t, s, "narrow", office...)}
	for i := range 20 {
		create(t, s, fmt.Sprint("k", i), office...)
	}
	require.NoError(t, manage.Exec(s, "PRAGMA wal_checkpoint(TRUNCATE)"))
	create(t, s, "one that is in the log only")
	l.yesterday = st.snapshot()
	require.NoError(t, s.Revoke(t.Context(), by, l.gone.Key.ID))
	_, err := save(s, l.narrow.Key.ID, list("192.0.2.1")...)
	require.NoError(t, err)
	for i := range 5 {
		create(t, s, fmt.Sprint("later", i), office...)
	}
	l.now = st.snapshot()
	return l
}

// open opens a database with these files. If it is not refused, what was
// acknowledged is in force.
func (l *lost) open(t *testing.T, files map[string][]byte, what string) error {
	t.Helper()
	st := put(t, filepath.Join(t.TempDir(), "data"), files)
	st.fresh()
	s, err := manage.Open(t.Context(), st.Options)
	if err != nil {
		require.Zero(t, st.Ring.Len(), what)
		return err
	}
	defer s.Close()
	require.Nil(t, st.Ring.Get(l.gone.Key.ID), "%s: a revoked key is served", what)
	require.Equal(t, ipallow.Denied, st.Engine.Check(l.narrow.Key.ID, inside), "%s: a narrowed key is served", what)
	_, err = s.Key(t.Context(), l.narrow.Key.ID)
	require.NoError(t, err, "%s: a key that is known is not found", what)
	return nil
}

func with(files map[string][]byte, suffix string, b []byte) map[string][]byte {
	out := make(map[string][]byte)
	for k, v := range files {
		out[k] = v
	}
	if out[suffix] = b; b == nil {
		delete(out, suffix)
	}
	return out
}

// Whatever becomes of one of the files, a start is refused or everything that
// was acknowledged is in force.
func TestLostChangesAreNoticed(t *testing.T) {
	t.Parallel()
	l := newLost(t)
	require.NoError(t, l.open(t, l.now, "nothing"))
	seed := uint64(time.Now().UnixNano())
	rnd := rand.New(rand.NewPCG(seed, 0))
	refused, taken := make(map[string]int), make(map[string]int)
	try := func(kind string, files map[string][]byte, format string, args ...any) {
		t.Helper()
		if err := l.open(t, files, fmt.Sprintf("seed %d, %s: %s", seed, kind, fmt.Sprintf(format, args...))); err != nil {
			refused[kind]++
		} else {
			taken[kind]++
		}
	}
	flip := func(suffix string, at, bit int) {
		b := append([]byte(nil), l.now[suffix]...)
		b[at] ^= 1 << bit
		try("flip"+suffix, with(l.now, suffix, b), "byte %d, bit %d", at, bit)
	}
	const frame = 24 + 4096
	for at := range 32 + 24 { // the log's header, and that of its first frame
		flip("-wal", at, rnd.IntN(8))
	}
	for range 20 {
		frames := (len(l.now["-wal"]) - 32) / frame
		flip("-wal", 32+rnd.IntN(frames)*frame+rnd.IntN(24), rnd.IntN(8))
		flip("-wal", rnd.IntN(len(l.now["-wal"])), rnd.IntN(8))
		flip("", rnd.IntN(len(l.now[""])), rnd.IntN(8))
		flip("-acked", rnd.IntN(len(l.now["-acked"])), rnd.IntN(8))
		flip("-shm", rnd.IntN(len(l.now["-shm"])), rnd.IntN(8))
	}
	for _, suffix := range storedFiles {
		for range 12 {
			n := rnd.IntN(len(l.now[suffix]))
			try("truncated"+suffix, with(l.now, suffix, l.now[suffix][:n]), "to %d", n)
		}
		try("empty"+suffix, with(l.now, suffix, []byte{}), "")
		try("removed"+suffix, with(l.now, suffix, nil), "")
		try("old"+suffix, with(l.now, suffix, l.yesterday[suffix]), "")
	}
	// All of it old is a state that was acknowledged once: nothing here can tell.
	for _, suffix := range []string{"-wal", "-acked"} {
		try("all old but"+suffix, with(l.yesterday, suffix, l.now[suffix]), "")
	}
	try("old without a log", with(with(l.now, "", l.yesterday[""]), "-wal", nil), "")
	try("old without a log and what was acknowledged", with(with(with(l.now, "", l.yesterday[""]), "-wal", nil), "-acked", nil), "")
	t.Logf("refused %v, taken %v", refused, taken)
	require.Equal(t, 32+24+2*20, refused["flip-wal"])
	require.Positive(t, refused["truncated-wal"])
	for _, kind := range []string{
		"removed-wal", "empty-wal", "old-wal", "removed-acked", "empty-acked", "removed", "empty", "all old but-acked",
		"old without a log", "old without a log and what was acknowledged",
	} {
		require.Equal(t, 1, refused[kind], kind)
	}
	for _, kind := range []string{"removed-shm", "empty-shm", "old-shm"} {
		require.Equal(t, 1, taken[kind], kind)
	}
}

// A refusal says what is missing and what to do; what there is can be gone on
// with, once, and the log as it was is kept.
func TestOlderStateIsAccepted(t *testing.T) {
	t.Parallel()
	l := newLost(t)
	b := append([]byte(nil), l.now["-wal"]...)
	b[32+24+100] ^= 4
	st := put(t, filepath.Join(t.TempDir(), "data"), with(l.now, "-wal", b))
	open := func(accept bool) error {
		st.fresh()
		st.AcceptOlder = accept
		s, err := manage.Open(context.Background(), st.Options)
		if err == nil {
			require.NoError(t, s.Close())
		}
		return err
	}
	err := open(false)
	var older *manage.OlderStateError
	require.ErrorAs(t, err, &older)
	require.Equal(t, older.Acknowledged.Revision-8, older.Found.Revision)
	for _, want := range []string{"so 8 are missing", "--accept-older-state", "docs/backup.md", "older than what was acknowledged", older.Log} {
		require.ErrorContains(t, err, want)
	}
	kept, err := os.ReadFile(older.Log)
	require.NoError(t, err)
	require.Equal(t, b, kept)
	require.ErrorAs(t, open(false), &older, "and again")
	require.Empty(t, older.Log, "there is none any more")
	require.NoError(t, open(true))
	require.Equal(t, 1, st.Ring.Len()-20-1, "gone, narrow and 20 others, less one that is in the log")
	require.NoError(t, open(true), "nothing is wrong now")
	require.NoError(t, open(false))

	// A flag that was left accepts nothing.
	require.NoError(t, open(true))
	s := st.open()
	create(t, s, "more")
	require.NoError(t, s.Close())
	before := st.snapshot()
	require.NoError(t, open(true))
	s = func() *manage.Service { st.AcceptOlder = true; return st.open() }()
	create(t, s, "more")
	require.NoError(t, s.Close())
	require.NoError(t, os.WriteFile(st.Path, before[""], 0o600))
	require.ErrorContains(t, open(true), "at the last start too")
	require.ErrorContains(t, open(true), "at the last start too")
	require.ErrorContains(t, open(false), "older than what was acknowledged")
	require.NoError(t, open(true))
}

// Two databases of one program: the one in the place of the other is noticed,
// and so is a copy that went on by itself.
func TestAnotherDatabaseIsNoticed(t *testing.T) {
	t.Parallel()
	st, other := newStore(t), newStore(t)
	for _, s := range []*store{st, other} {
		svc := s.open()
		create(t, svc, "a", office...)
		create(t, svc, "b", office...)
		require.NoError(t, svc.Close())
	}
	mine, its := st.snapshot(), other.snapshot()
	var older *manage.OlderStateError
	require.ErrorAs(t, put(t, filepath.Join(t.TempDir(), "data"), with(mine, "", its[""])).refused(), &older)
	require.Contains(t, older.Reason, "another database")

	apart := put(t, filepath.Join(t.TempDir(), "data"), mine)
	svc := apart.open()
	create(t, svc, "c")
	require.NoError(t, svc.Close())
	svc = st.open()
	create(t, svc, "d")
	require.NoError(t, svc.Close())
	err := put(t, filepath.Join(t.TempDir(), "data"), with(apart.snapshot(), "-acked", st.snapshot()["-acked"])).refused()
	require.ErrorAs(t, err, &older)
	require.Contains(t, older.Reason, "changed apart")
}

// A database that was put in the place of a newer one whose write-ahead log was
// left: SQLite takes the log's pages for its own, and the last change is there.
func TestMixedFilesAreNoticed(t *testing.T) {
	t.Parallel()
	st := newStore(t)
	s := st.open()
	l := &lost{gone: create(t, s, "gone", office...), narrow: create(t, s, "narrow", office...)}
	for i := range 200 { // so that the keys are on several pages
		create(t, s, fmt.Sprint("k", i), office...)
	}
	require.NoError(t, manage.Exec(s, "PRAGMA wal_checkpoint(TRUNCATE)"))
	old := st.snapshot()
	require.NoError(t, s.Revoke(t.Context(), by, l.gone.Key.ID))
	_, err := save(s, l.narrow.Key.ID, list("192.0.2.1")...)
	require.NoError(t, err)
	require.NoError(t, manage.Exec(s, "PRAGMA wal_checkpoint(TRUNCATE)"))
	for i := range 50 {
		create(t, s, fmt.Sprint("later", i), office...)
	}
	l.now = st.snapshot()
	require.NoError(t, l.open(t, l.now, "nothing"))
	require.Error(t, l.open(t, with(l.now, "", old[""]), "an old database under a new log"))
}

// An old database under a newer log, where the log has the keys' page and the database the one
// of the index: each key would be served, and none could be revoked.
func TestKeysThatAreNotFoundAreNoticed(t *testing.T) {
	t.Parallel()
	st := newStore(t)
	s := st.open()
	l := &lost{gone: create(t, s, "gone", office...), narrow: create(t, s, "narrow", office...)}
	old := st.snapshot() // the log has all of it
	require.NoError(t, manage.Exec(s, "PRAGMA wal_checkpoint(TRUNCATE)"))
	require.NoError(t, s.Revoke(t.Context(), by, l.gone.Key.ID))
	_, err := save(s, l.narrow.Key.ID, list("192.0.2.1")...)
	require.NoError(t, err)
	l.now = st.snapshot()
	require.NoError(t, l.open(t, l.now, "nothing"))
	err = l.open(t, with(l.now, "", old[""]), "an old database under a new log")
	require.ErrorContains(t, err, "1 keys are not found by their identifiers")

	// Who goes on with it all the same can change every key.
	accepted := put(t, filepath.Join(t.TempDir(), "data"), with(l.now, "", old[""]))
	accepted.AcceptOlder = true
	s = accepted.open()
	require.NoError(t, s.Revoke(t.Context(), by, l.narrow.Key.ID))
}
