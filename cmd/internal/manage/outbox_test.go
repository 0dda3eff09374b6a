package manage_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow/cmd/internal/manage"
)

// TestOutboxIsRead reads, and empties, what TestOutbox finds in the table.
func TestOutboxIsRead(t *testing.T) {
	st := newStore(t)
	st.Outbox = true
	s := st.open()
	quiet := func() bool {
		select {
		case <-s.Changed():
			return false
		default:
			return true
		}
	}
	require.True(t, quiet())
	a, b := create(t, s, "a", office...), create(t, s, "b")
	require.False(t, quiet(), "nobody was told")
	require.NoError(t, s.Revoke(t.Context(), by, b.Key.ID))
	rows, err := s.Outbox(t.Context(), 0, 2)
	require.NoError(t, err)
	require.Len(t, rows, 2)
	require.Equal(t, a.Key.ID, rows[0].KeyID)
	rest, err := s.Outbox(t.Context(), rows[1].Seq, 10)
	require.NoError(t, err)
	require.Len(t, rest, 1)
	n, oldest, err := s.OutboxLen(t.Context())
	require.NoError(t, err)
	require.Equal(t, 3, n)
	require.Equal(t, rows[0].Created, oldest)

	// What is published is the state now, and not that of the row.
	p, err := s.Publication(t.Context(), a.Key.ID)
	require.NoError(t, err)
	l, err := s.Allowlist(t.Context(), a.Key.ID)
	require.NoError(t, err)
	require.Len(t, l.Entries, 2)
	require.Equal(t, l.Entries, p.Entries)
	require.Equal(t, st.Ring.Get(a.Key.ID).Hash, p.Key.Hash)
	for _, id := range []string{b.Key.ID, "aaaaaaaaaaaaaaaa", "no identifier"} {
		p, err = s.Publication(t.Context(), id)
		require.NoError(t, err)
		require.EqualValues(t, 3, p.Change.Revision)
		require.Equal(t, manage.Publication{ID: id, Change: p.Change}, p)
	}
	var all []string
	require.NoError(t, s.Publications(t.Context(), func(p manage.Publication) error { all = append(all, p.ID); return nil }))
	require.Equal(t, []string{a.Key.ID}, all)

	for quiet() {
	}
	require.NoError(t, s.Published(t.Context(), []int64{rows[0].Seq, rest[0].Seq}))
	require.NoError(t, s.Published(t.Context(), nil))
	require.True(t, quiet(), "emptying is no change")
	left, err := s.Outbox(t.Context(), 0, 10)
	require.NoError(t, err)
	require.Equal(t, rows[1:], left)

	// The identity stays, and is no other database's.
	id := s.Identity()
	require.Len(t, id, 32)
	require.NoError(t, s.Close())
	_, err = s.Publication(t.Context(), a.Key.ID)
	require.ErrorIs(t, err, manage.ErrClosed)
	require.Equal(t, id, st.open().Identity())
	require.NotEqual(t, id, newStore(t).open().Identity())
}
