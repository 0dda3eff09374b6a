package manage_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow/cmd/internal/manage"
)

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
