package ipallow

import (
	"fmt"
	"net/netip"
	"runtime"
	"strings"
	"testing"

	"github.com/ipallow/ipallow/internal/gen"
	"github.com/ipallow/ipallow/internal/index"
	"github.com/stretchr/testify/require"
)

// hosts is a list of n addresses, other ones for each seed.
func hosts(n, seed int) []Entry {
	list := make([]Entry, n)
	for i := range list {
		v := uint32(i)*3 + uint32(seed)<<20
		a := netip.AddrFrom4([4]byte{byte(8 + v>>24), byte(v >> 16), byte(v >> 8), byte(v)})
		list[i] = Entry{Prefix: netip.PrefixFrom(a, 32)}
	}
	return list
}

// What nobody can ask for any more is given back: after many changes the engine holds what an
// engine holds that was given the last lists only, whatever the lists' size and number, and
// however they were changed. What is deleted is given back too.
func TestReplacedListsAreGivenBack(t *testing.T) {
	for _, c := range []struct {
		name          string
		keys, entries int
		rounds        int
		equal         bool // all keys have the same list
	}{
		{"one list of 50,000 entries", 1, 50_000, 4, false},
		{"one list for many keys", 30, 5_000, 4, true},
		{"long lists", 40, 1_000, 4, false},
		{"the shortest long lists", 800, index.MaxShort + 1, 4, false},
		{"short lists", 4_000, 20, 4, false},
	} {
		if testing.Short() && c.entries != 1_000 {
			continue
		}
		list := func(key, round int) []Entry {
			if c.equal {
				key = 0
			}
			return hosts(c.entries, 1+round*c.keys+key)
		}
		all := func(round int) func(func(string, []Entry) bool) {
			return func(yield func(string, []Entry) bool) {
				for k := range c.keys {
					if !yield(gen.BulkKey(k), list(k, round)) {
						return
					}
				}
			}
		}
		for how, change := range map[string]func(e *Engine, round int) error{
			"Set": func(e *Engine, round int) error {
				for key, l := range all(round) {
					if err := e.Set(key, l); err != nil {
						return err
					}
				}
				return nil
			},
			"Update": func(e *Engine, round int) error {
				return e.Update(func(tx *Tx) error {
					for key, l := range all(round) {
						if err := tx.Set(key, l); err != nil {
							return err
						}
					}
					return nil
				})
			},
			"Replace": func(e *Engine, round int) error { return e.Replace(all(round)) },
			"failing steps": func(e *Engine, round int) error {
				_ = e.Update(func(tx *Tx) error {
					for key, l := range all(round + 1000) {
						_ = tx.Set(key, l)
					}
					return ErrNoFunc
				})
				return e.Replace(all(round))
			},
		} {
			t.Run(c.name+"/"+how, func(t *testing.T) {
				e := New(&Options{Policy: widest()})
				empty := heap()
				require.NoError(t, change(e, 0))
				once := heap() - empty
				for round := range c.rounds {
					require.NoError(t, change(e, round+1))
				}
				held := heap() - empty
				require.Less(t, held, once*5/4+200_000, "bytes after %d changes, against %d after one", c.rounds, once)
				require.Equal(t, c.keys, e.Snapshot().Len())
				for k := range c.keys {
					e.Delete(gen.BulkKey(k))
				}
				left := heap() - empty
				require.Less(t, left, once/20+200_000, "bytes after all keys were deleted, against %d before", once)
				runtime.KeepAlive(e)
			})
		}
	}
}

// The labels of a long list are stored once where they repeat, and keep nothing of the text alive
// that they were cut out of.
func TestLabelsOfLongLists(t *testing.T) {
	const n = 20_000
	label := func(i int) string { return fmt.Sprintf("provider %d, region %d", i%7, i%100) }
	compiled := func(labels bool) (table *Allowlist, bytes int) {
		empty := heap()
		list := hosts(n, 1)
		if labels {
			var text strings.Builder // a file of n labels of 400 bytes, of which most is something else
			for i := range n {
				fmt.Fprintf(&text, "%-400s", label(i))
			}
			for i := range list {
				list[i].Label = text.String()[400*i:][:len(label(i))]
			}
		}
		table = Compile(list)
		return table, heap() - empty
	}
	_, bare := compiled(false)
	table, labelled := compiled(true)
	require.Less(t, labelled-bare, n*16+100_000, "bytes of 700 labels, and of a reference for each entry")
	for i, e := range hosts(n, 1) {
		if got, ok := table.Lookup(e.Prefix.Addr()); !ok || got != (Entry{e.Prefix, label(i)}) {
			t.Fatalf("entry %d is %v with the label %q, want %q", i, got, got.Label, label(i))
		}
	}
}
