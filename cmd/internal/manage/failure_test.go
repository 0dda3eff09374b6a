package manage_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow"
	"github.com/ipallow/ipallow/cmd/internal/manage"
	"github.com/ipallow/ipallow/cmd/internal/manage/managetest"
)

// TestFullDisk has a database that cannot grow: changes fail, and neither the
// store nor what is in force changes. When there is room again, they succeed.
func TestFullDisk(t *testing.T) {
	s, engine, ring := managetest.Open(t)
	long := make([]manage.ListEntry, 20)
	for i := range long {
		long[i] = manage.ListEntry{Entry: fmt.Sprintf("20.0.0.%d", i), Label: fmt.Sprintf("%0100d", i)}
	}
	c := create(t, s, "a", office...)
	open := create(t, s, "open")
	require.NoError(t, manage.Exec(s, "PRAGMA max_page_count = 1")) // as small as it is now
	state := func() (manage.KeyPage, manage.AuditPage, int, int) {
		keys, err := s.Keys(t.Context(), manage.KeyQuery{Revoked: true, Limit: manage.MaxLimit})
		require.NoError(t, err)
		trail, err := s.Audit(t.Context(), manage.AuditQuery{Limit: manage.MaxLimit})
		require.NoError(t, err)
		return keys, trail, engine.Snapshot().Len(), ring.Len()
	}
	// Fill what is left of the pages.
	var err error
	for err == nil {
		_, err = s.Create(t.Context(), by, manage.NewKey{Name: "b", Scopes: []string{"read"}, Allowlist: long})
	}
	keys, trail, lists, known := state()
	for range 3 {
		_, err = s.Create(t.Context(), by, manage.NewKey{Name: "b", Scopes: []string{"read"}, Allowlist: long})
		require.ErrorContains(t, err, "full")
		_, err = save(s, c.Key.ID, long...)
		require.ErrorContains(t, err, "full")
		_, err = save(s, open.Key.ID, long...)
		require.ErrorContains(t, err, "full")
		_, err = s.Import(t.Context(), by, manyKeys(50))
		require.ErrorContains(t, err, "full")
	}
	keys2, trail2, lists2, known2 := state()
	require.Equal(t, keys, keys2)
	require.Equal(t, trail, trail2)
	require.Equal(t, lists, lists2)
	require.Equal(t, known, known2)
	require.Equal(t, ipallow.Allowed, engine.Check(c.Key.ID, inside))
	require.Equal(t, ipallow.Unrestricted, engine.Check(open.Key.ID, inside))
	require.NotNil(t, ring.Authenticate(c.Token))

	require.NoError(t, manage.Exec(s, "PRAGMA max_page_count = 100000"))
	_, err = save(s, open.Key.ID, long...)
	require.NoError(t, err)
	require.Equal(t, ipallow.Denied, engine.Check(open.Key.ID, inside))
}

// A reserve is room that a database that cannot grow gets once.
type reserve struct {
	s        *manage.Service
	left     bool
	full     bool
	restored int
}

func (r *reserve) Release() bool {
	was := r.left
	if r.left = false; was {
		_ = manage.Exec(r.s, "PRAGMA max_page_count = 40")
	}
	return was
}

func (r *reserve) Restore() error { r.restored++; return nil }
func (r *reserve) Note(full bool) { r.full = full }

// TestReserve has a full disk and a reserve: it is for changes of keys that are
// there, and not for new keys. When it is used up too, they fail, and are as before.
func TestReserve(t *testing.T) {
	r := &reserve{left: true}
	s, engine, ring := managetest.Open(t, func(o *manage.Options) { o.Reserve = r })
	r.s = s
	long := make([]manage.ListEntry, 20)
	for i := range long {
		long[i] = manage.ListEntry{Entry: fmt.Sprintf("20.0.0.%d", i), Label: fmt.Sprintf("%0100d", i)}
	}
	a, b := create(t, s, "a", office...), create(t, s, "b", office...)
	require.NoError(t, manage.Exec(s, "PRAGMA max_page_count = 1"))
	var err error
	for err == nil {
		_, err = s.Create(t.Context(), by, manage.NewKey{Name: "c", Scopes: []string{"read"}, Allowlist: long})
	}
	require.ErrorIs(t, err, manage.ErrFull)
	_, err = s.Import(t.Context(), by, manyKeys(50))
	require.ErrorIs(t, err, manage.ErrFull)
	require.True(t, r.left, "nothing of the reserve is for new keys")
	require.False(t, r.full)

	for r.left { // each of these makes the audit trail longer
		_, err = save(s, a.Key.ID, long...)
		require.NoError(t, err)
		_, err = save(s, a.Key.ID, office...)
		require.NoError(t, err)
	}
	require.NoError(t, s.Revoke(t.Context(), by, b.Key.ID))
	require.Nil(t, ring.Authenticate(b.Token))
	for err == nil {
		_, err = save(s, a.Key.ID, long...)
		if err == nil {
			_, err = save(s, a.Key.ID, office...)
		}
	}
	require.ErrorIs(t, err, manage.ErrFull)
	require.True(t, r.full)
	l, err := s.Allowlist(t.Context(), a.Key.ID)
	require.NoError(t, err)
	for _, e := range l.Entries {
		require.Equal(t, ipallow.Allowed, engine.Check(a.Key.ID, e.Prefix.Addr()), "what is stored is in force")
	}
	require.NoError(t, manage.Exec(s, "PRAGMA max_page_count = 100000"))
	require.NoError(t, s.Revoke(t.Context(), by, a.Key.ID))
	require.False(t, r.full)
}

// TestCommitFails has changes that fail at the last moment: neither what is
// stored nor what is in force changes.
func TestCommitFails(t *testing.T) {
	s, engine, ring := managetest.Open(t)
	a, open := create(t, s, "a", office...), create(t, s, "open")
	ring.Get(a.Key.ID).Used(start)
	require.NoError(t, manage.FailCommits(s, true))
	_, err := s.Create(t.Context(), by, manage.NewKey{Name: "b", Scopes: []string{"read"}, Allowlist: office})
	require.Error(t, err)
	_, err = save(s, a.Key.ID, list("192.0.2.1")...)
	require.Error(t, err)
	_, err = save(s, open.Key.ID, office...)
	require.Error(t, err)
	_, err = s.Edit(t.Context(), by, a.Key.ID, manage.KeyEdit{ReportOnly: ptr(true)})
	require.Error(t, err)
	_, err = s.Rotate(t.Context(), by, a.Key.ID)
	require.Error(t, err)
	require.Error(t, s.Revoke(t.Context(), by, a.Key.ID))
	_, err = s.Import(t.Context(), by, manyKeys(10))
	require.Error(t, err)
	require.Error(t, manage.Flush(s))

	require.Equal(t, 2, ring.Len())
	require.False(t, ring.Authenticate(a.Token).ReportOnly)
	require.Equal(t, 1, engine.Snapshot().Len(), "a list is left of a change that failed")
	require.Equal(t, ipallow.Allowed, engine.Check(a.Key.ID, inside))
	for _, c := range []manage.Created{a, open} {
		l, err := s.Allowlist(t.Context(), c.Key.ID)
		require.NoError(t, err)
		require.Equal(t, c.List, l)
	}
	trail, err := s.Audit(t.Context(), manage.AuditQuery{})
	require.NoError(t, err)
	require.Len(t, trail.Records, 2)

	require.NoError(t, manage.FailCommits(s, false))
	require.NoError(t, manage.Flush(s))
	_, err = save(s, open.Key.ID, office...)
	require.NoError(t, err)
	require.NoError(t, s.Revoke(t.Context(), by, a.Key.ID))
	create(t, s, "b")
}

// TestEngineWithoutRoom has an engine that takes fewer lists than there are
// keys: what it has no room for is refused before it is stored.
func TestEngineWithoutRoom(t *testing.T) {
	engine := ipallow.New(&ipallow.Options{MaxKeys: 2})
	s, _, ring := managetest.Open(t, func(o *manage.Options) { o.Engine = engine })
	open := create(t, s, "open")
	a, b := create(t, s, "a", office...), create(t, s, "b", office...)
	_, err := s.Create(t.Context(), by, manage.NewKey{Name: "c", Scopes: []string{"read"}, Allowlist: office})
	require.ErrorIs(t, err, manage.ErrTooManyKeys)
	require.ErrorIs(t, err, ipallow.ErrTooManyKeys)
	_, err = save(s, open.Key.ID, office...)
	require.ErrorIs(t, err, manage.ErrTooManyKeys)
	_, err = s.Import(t.Context(), by, manyKeys(1))
	require.ErrorIs(t, err, manage.ErrTooManyKeys)
	l, err := s.Allowlist(t.Context(), open.Key.ID)
	require.NoError(t, err)
	require.Equal(t, open.List, l)
	require.Equal(t, 3, ring.Len())
	require.Equal(t, 2, engine.Snapshot().Len())

	// A list of one that has one already needs no room.
	_, err = save(s, a.Key.ID, list("192.0.2.1")...)
	require.NoError(t, err)
	require.NoError(t, s.Revoke(t.Context(), by, b.Key.ID))
	manage.Sweep(s, time.Now().Add(time.Hour))
	_, err = save(s, open.Key.ID, office...)
	require.NoError(t, err)
	require.Equal(t, ipallow.Denied, engine.Check(open.Key.ID, outside))
	require.Equal(t, 2, engine.Snapshot().Len(), "the place that was taken is given back")
}
