package ipallow

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/ipallow/ipallow/internal/gen"
	"github.com/ipallow/ipallow/internal/index"
	"github.com/stretchr/testify/require"
)

// Limits that no user names, at, below and above.
func TestKeyLength(t *testing.T) {
	for _, c := range []struct {
		n  int
		ok bool
	}{{0, false}, {1, true}, {2, true}, {MaxKeyLen - 1, true}, {MaxKeyLen, true}, {MaxKeyLen + 1, false}, {1 << 17, false}} {
		key := strings.Repeat("\xff", c.n) // any bytes are a key
		for name, set := range map[string]func(*Engine) error{
			"Set": func(e *Engine) error { return e.Set(key, entries("203.0.113.5/32")) },
			"Update": func(e *Engine) error {
				return e.Update(func(tx *Tx) error { return tx.Set(key, entries("203.0.113.5/32")) })
			},
			"Replace": func(e *Engine) error { return e.Replace(lists(key, entries("203.0.113.5/32"))) },
		} {
			e := New(nil)
			err := set(e)
			if c.ok {
				require.NoError(t, err, "%s, %d bytes", name, c.n)
			} else {
				require.ErrorIs(t, err, ErrKeyLength, "%s, %d bytes", name, c.n)
				require.ErrorContains(t, err, fmt.Sprint(c.n), "the message says how long it is")
				require.Less(t, len(err.Error()), maxFaultText, "and does not repeat it whole")
			}
			require.Equal(t, Denied, e.Check(key, addr("8.8.8.8")), "%s, %d bytes", name, c.n)
			require.Equal(t, c.ok, e.Snapshot().Len() == 1)
		}
	}
}

// A key that no list can belong to is denied, whoever asks and whatever the engine holds: a
// caller that lost its key on the way must not be served as one without a list.
func TestInvalidKeysAreDenied(t *testing.T) {
	full := New(nil)
	for i := range 1000 {
		require.NoError(t, full.Set(gen.BulkKey(i), entries("203.0.113.0/24", "2001:db8::/48")))
	}
	for name, e := range map[string]*Engine{"an empty engine": New(nil), "a full one": full, "the zero one": {}, "none": nil} {
		for _, n := range []int{0, MaxKeyLen + 1, MaxKeyLen + 2, 2 * MaxKeyLen, 1 << 16, 1<<16 + 20, 1 << 20} {
			key := strings.Repeat("k", n)
			for _, a := range []netip.Addr{addr("203.0.113.5"), addr("8.8.8.8"), addr("2001:db8::1"), addr("::ffff:203.0.113.5"), {}} {
				require.Equal(t, Denied, e.Check(key, a), "%s, %d bytes, %v", name, n, a)
				require.Equal(t, Denied, e.Snapshot().Check(key, a), "%s, %d bytes, %v", name, n, a)
				x := e.Explain(key, a)
				require.Equal(t, Denied, x.Verdict, "%s, %d bytes", name, n)
				require.False(t, x.Matched)
				if name == "an empty engine" || name == "a full one" {
					require.True(t, x.InvalidKey, "%s, %d bytes", name, n)
					require.Contains(t, x.String(), "longer than 1024 bytes")
				}
				// Among others of a batch, in each place of a group and after it.
				for at := range 2*index.BatchGroup + 1 {
					keys := slices.Repeat([]string{gen.BulkKey(0)}, 2*index.BatchGroup+1)
					keys[at] = key
					verdicts := slices.Repeat([]Verdict{Unrestricted}, len(keys))
					e.CheckBatch(keys, slices.Repeat([]netip.Addr{a}, len(keys)), verdicts)
					require.Equal(t, Denied, verdicts[at], "%s, %d bytes, place %d", name, n, at)
				}
			}
			_, ok := e.Snapshot().Entries(key)
			require.False(t, ok)
			if e != nil {
				before := e.Snapshot().Len()
				e.Delete(key) // does nothing, and no harm
				require.Equal(t, before, e.Snapshot().Len())
				require.Equal(t, Denied, e.Check(key, addr("8.8.8.8")))
			}
		}
	}
	require.False(t, full.Explain("known to nobody", addr("8.8.8.8")).InvalidKey)
	require.Equal(t, Unrestricted, full.Check("k", addr("8.8.8.8")), "the shortest key is one")
	require.Equal(t, Unrestricted, full.Check(strings.Repeat("k", MaxKeyLen), addr("8.8.8.8")), "the longest key is one")
}

// Keys of every length, with each byte that matters: a change at either end
// or in the middle is another key.
func TestEveryKeyLength(t *testing.T) {
	for n := 1; n <= MaxKeyLen; n++ {
		e := New(nil)
		b := make([]byte, n) // no byte behind it may be read
		for i := range b {
			b[i] = byte(i*7 + n)
		}
		require.NoError(t, e.Set(string(b), entries("203.0.113.5/32", "2001:db8::/48")))
		for _, offset := range []int{0, 1, 3} { // a request's key stands anywhere in its line
			line := append(make([]byte, offset), b...)
			require.Equal(t, Allowed, e.Check(string(line)[offset:], addr("203.0.113.5")), "%d bytes", n)
			require.Equal(t, Denied, e.Check(string(line)[offset:], addr("203.0.113.6")), "%d bytes", n)
		}
		for _, i := range []int{0, n / 4, n / 2, n - n/4 - 1, n - 1} {
			b[i] ^= 0x80
			require.Equal(t, Unrestricted, e.Check(string(b), addr("203.0.113.6")), "%d bytes, another at %d", n, i)
			b[i] ^= 0x80
		}
		for _, other := range []string{string(b[:n-1]), string(b) + "\x00"} {
			want := Unrestricted
			if other == "" || len(other) > MaxKeyLen {
				want = Denied
			}
			require.Equal(t, want, e.Check(other, addr("203.0.113.6")), "%d bytes, and %d were set", len(other), n)
		}
		require.Equal(t, 1, e.Snapshot().Len())
	}
}

func TestMaxKeys(t *testing.T) {
	list := entries("203.0.113.5/32")
	for _, limit := range []int{-1, 1, 2, 5} {
		room := max(limit, 0)
		e := New(&Options{MaxKeys: limit})
		for i := range room {
			require.NoError(t, e.Set(fmt.Sprint("k", i), list), "up to the limit of %d", limit)
		}
		before := e.Snapshot()
		require.ErrorIs(t, e.Set("more", list), ErrTooManyKeys, "past the limit of %d", limit)
		require.ErrorIs(t, e.Replace(func(yield func(string, []Entry) bool) {
			for i := range room + 1 {
				yield(fmt.Sprint("r", i), list)
			}
		}), ErrTooManyKeys)
		require.Same(t, before, e.Snapshot())
		require.Equal(t, Unrestricted, e.Check("more", addr("8.8.8.8")))
		if room == 0 {
			continue
		}
		require.NoError(t, e.Set("k0", entries("203.0.113.6/32")), "a key that has a list may change it")
		require.NoError(t, e.Update(func(tx *Tx) error { tx.Delete("k0"); return tx.Set("more", list) }), "one for another")
		require.NoError(t, e.Replace(func(yield func(string, []Entry) bool) {
			for i := range room {
				yield(fmt.Sprint("r", i), list)
			}
			yield("empty", nil) // has no list, so it does not count
		}))
		require.Equal(t, room, e.Snapshot().Len())
	}
}

// Two lists for one key in a Replace are a fault, wherever the two stand.
func TestReplaceDuplicateKey(t *testing.T) {
	for _, n := range []int{2, 500, 5000} { // one shard, and several
		e := New(nil)
		err := e.Replace(func(yield func(string, []Entry) bool) {
			for i := range n {
				yield(fmt.Sprint("k", i%(n-1)), entries("203.0.113.5/32"))
			}
		})
		require.ErrorIs(t, err, ErrDuplicateKey)
		var k *KeyError
		require.ErrorAs(t, err, &k)
		require.Equal(t, "k0", k.Key)
		require.Zero(t, e.Snapshot().Len())
	}
}

func TestPolicyOfEngine(t *testing.T) {
	p := DefaultPolicy()
	p.MaxEntries = 2
	e := New(&Options{Policy: &p})
	p.MaxEntries = 1000 // the engine has its own copy
	require.Equal(t, 2, e.Policy().MaxEntries)
	require.Error(t, e.Set("k", fromNaive(gen.Distinct(3))))
	require.Equal(t, DefaultPolicy(), New(nil).Policy())
	require.Equal(t, DefaultPolicy(), New(&Options{}).Policy())
	require.Equal(t, Policy{}, (*Engine)(nil).Policy(), "accepts nothing")
	zero := new(Engine)
	require.Equal(t, DefaultPolicy(), zero.Policy())
	require.Nil(t, zero.Snapshot(), "asking for the policy is no step")
	require.NoError(t, zero.Set("k", entries("203.0.113.5/32")))
	require.Equal(t, DefaultPolicy(), zero.Policy())
}
