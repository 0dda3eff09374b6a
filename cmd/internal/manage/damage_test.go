package manage_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow"
	"github.com/ipallow/ipallow/cmd/internal/keyring"
	"github.com/ipallow/ipallow/cmd/internal/manage"
)

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
	b := create(t, s, "b").Key.ID
	var read []string
	require.NoError(t, s.Publications(t.Context(), func(p manage.Publication) error {
		if p.Err != nil {
			require.ErrorIs(t, p.Err, manage.ErrDamaged)
			require.Equal(t, id, p.ID)
			require.Nil(t, p.Key)
			return nil
		}
		read = append(read, p.ID)
		return nil
	}))
	require.Equal(t, []string{b}, read, "the others are read")
	require.NoError(t, manage.Exec(s, "UPDATE audit SET after = '{'"))
	_, err = s.Audit(t.Context(), manage.AuditQuery{})
	require.ErrorIs(t, err, manage.ErrDamaged)
}

// TestFlippedBits flips bits anywhere in the file. Either the database is
// A database of which only what is read after the keys is damaged is refused
// before the first of them is known.
func TestRefusedIsNotLoaded(t *testing.T) {
	st := newStore(t)
	s := st.open()
	create(t, s, "key", office...)
	require.NoError(t, s.Close())
	st.exec("ALTER TABLE keys RENAME COLUMN description TO text")
	st.fresh()
	_, err := manage.Open(t.Context(), st.Options)
	require.ErrorContains(t, err, "description")
	require.Zero(t, st.Ring.Len())
}

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
			require.Zero(t, st.Ring.Len(), "seed %d, byte %d, bit %d", seed, at, bit)
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
