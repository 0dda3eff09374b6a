package manage_test

import (
	"flag"
	"fmt"
	"iter"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow"
	"github.com/ipallow/ipallow/cmd/internal/keyring"
	"github.com/ipallow/ipallow/cmd/internal/manage"
)

var benchKeys = flag.Int("benchkeys", 10_000, "keys in the database of the benchmarks")

// manyKeys yields n keys with five entries each.
func manyKeys(n int) iter.Seq[manage.NewKey] {
	return func(yield func(manage.NewKey) bool) {
		for i := range n {
			list := make([]manage.ListEntry, 5)
			for j := range list {
				list[j] = manage.ListEntry{Entry: fmt.Sprintf("20.%d.%d.%d", i>>16&0xff, i>>8&0xff, (i+j)&0xff), Label: "office"}
			}
			if !yield(manage.NewKey{Name: fmt.Sprintf("Customer %d", i), Scopes: []string{"read"}, Allowlist: list}) {
				return
			}
		}
	}
}

// BenchmarkManage has the cost of starting, of a change and of a search that
// finds nothing: go test -run ^$ -bench . -benchkeys 100000
func BenchmarkManage(b *testing.B) {
	o := manage.Options{Path: filepath.Join(b.TempDir(), "db"), Engine: ipallow.New(nil), Ring: new(keyring.Ring)}
	s, err := manage.Open(b.Context(), o)
	require.NoError(b, err)
	_, err = s.Import(b.Context(), by, manyKeys(*benchKeys))
	require.NoError(b, err)
	b.Logf("imported: %d", o.Ring.Len())
	require.NoError(b, s.Close())
	name := func(op string) string { return fmt.Sprintf("op=%s/keys=%d", op, *benchKeys) }

	b.Run(name("open"), func(b *testing.B) {
		for b.Loop() {
			o.Engine, o.Ring = ipallow.New(nil), new(keyring.Ring)
			s, err := manage.Open(b.Context(), o)
			require.NoError(b, err)
			b.StopTimer()
			require.Equal(b, *benchKeys, o.Ring.Len())
			require.NoError(b, s.Close())
			b.StartTimer()
		}
	})
	o.Engine, o.Ring = ipallow.New(nil), new(keyring.Ring)
	s, err = manage.Open(b.Context(), o)
	require.NoError(b, err)
	defer s.Close()
	manage.SetMaxKeys(s, 2*manage.MaxKeys) // so that more can be created
	b.Run(name("keys"), func(b *testing.B) {
		for b.Loop() {
			page, err := s.Keys(b.Context(), manage.KeyQuery{})
			require.NoError(b, err)
			require.Len(b, page.Keys, manage.DefaultLimit)
		}
	})
	b.Run(name("search_nothing"), func(b *testing.B) {
		for b.Loop() {
			page, err := s.Keys(b.Context(), manage.KeyQuery{Search: "nobody"})
			require.NoError(b, err)
			require.Empty(b, page.Keys)
		}
	})
	var id string
	b.Run(name("create"), func(b *testing.B) {
		for k := range manyKeys(1 << 30) {
			if !b.Loop() {
				break
			}
			c, err := s.Create(b.Context(), by, k)
			require.NoError(b, err)
			id = c.Key.ID
		}
	})
	b.Run(name("set"), func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			list := []manage.ListEntry{{Entry: fmt.Sprintf("20.0.%d.%d", i>>8&0xff, i&0xff)}}
			_, err := s.SetAllowlist(b.Context(), by, id, manage.ListEdit{Entries: list})
			require.NoError(b, err)
		}
	})
	b.Run(name("key"), func(b *testing.B) {
		for b.Loop() {
			_, err := s.Key(b.Context(), id)
			require.NoError(b, err)
		}
	})
	b.Run(name("flush"), func(b *testing.B) {
		now := int64(0)
		for b.Loop() {
			now++
			markAll(o.Ring, now)
			require.NoError(b, manage.Flush(s))
		}
	})
}

func markAll(ring *keyring.Ring, now int64) {
	for k := range ring.All {
		k.Used(time.Unix(now, 0))
	}
}
