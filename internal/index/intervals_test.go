package index

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/ipallow/ipallow/internal/gen"
	"github.com/stretchr/testify/require"
)

// An interval set answers what a loop over its ranges answers: at the ends of the
// numbers, with ranges that touch, nest and overlap, and at every edge.
func TestIntervals(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 5))
	var empty intervals[uint64]
	empty.finish()
	require.False(t, empty.contains(0) || empty.contains(1) || empty.contains(math.MaxUint64))
	in, out := 0, 0
	for round := range 400 {
		var s intervals[uint32]
		type span struct{ from, to uint32 }
		var all []span
		at := uint32(r.IntN(3)) // 0 in a third of the rounds
		if round%2 == 0 {
			at = r.Uint32()
		}
		for range 1 + r.IntN(60) {
			// Prefixes in order: the next begins inside, at the end of, or
			// behind the last.
			width := uint32(1)<<r.IntN(8+round%24) - 1
			from := at &^ width
			to := from | width
			if len(all) == 0 || from >= all[len(all)-1].from {
				all = append(all, span{from, to})
				s.add(from, to)
			}
			next := to + uint32(r.IntN(3))*uint32(r.IntN(1<<20))
			if r.IntN(2) == 0 {
				next++
			}
			if next < at {
				break // past the last number
			}
			at = next
		}
		if round%5 == 0 {
			all = append(all, span{math.MaxUint32 - 3, math.MaxUint32})
			s.add(math.MaxUint32-3, math.MaxUint32)
		}
		s.finish()
		ask := func(a uint32) {
			want := false
			for _, x := range all {
				want = want || x.from <= a && a <= x.to
			}
			if want {
				in++
			} else {
				out++
			}
			if s.contains(a) != want {
				t.Fatalf("round %d: contains(%#x) is not %t: %v", round, a, want, all)
			}
		}
		for _, x := range all {
			for d := range uint32(5) {
				ask(x.from + d - 2)
				ask(x.to + d - 2)
			}
		}
		ask(0)
		ask(math.MaxUint32)
		for range 50 {
			ask(r.Uint32())
		}
	}
	require.Greater(t, in, 1000)
	require.Greater(t, out, 1000)
}

// The root of a long list has at most rootLines lines with points, or an eighth to a quarter as
// many parts as points; what is not in the root is found among the points.
func TestIntervalsOfManyPoints(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("makes lists of 300,000 entries")
	}
	r := rand.New(rand.NewPCG(7, 3))
	const n = 150_000 // of each family, about twice as many points
	list := make([]Entry, 0, 2*n)
	set := make(map[netip.Prefix]bool, 2*n)
	for range n {
		var b [16]byte
		binary.BigEndian.PutUint64(b[:], r.Uint64()|1<<63) // no IPv4-mapped ones
		for _, p := range []netip.Prefix{
			netip.PrefixFrom(netip.AddrFrom4([4]byte(b[4:])), 31).Masked(), netip.PrefixFrom(netip.AddrFrom16(b), 63).Masked(),
		} {
			if !set[p] {
				set[p] = true
				list = append(list, Entry{Prefix: p})
			}
		}
	}
	const key = "a key of which Check has the list" // see containsFast4
	e := newEngine()
	require.NoError(t, e.Set(key, list))
	table := e.Snapshot().tableOf(key)
	const parts = rootLines * lineSize / 4
	require.Greater(t, len(table.in4.points), parts)
	require.Greater(t, len(table.in6.points), parts)
	require.Equal(t, parts+1, len(table.in4.root))
	require.InDelta(t, parts+1, len(table.in6.root), 10, "all but the parts in front of the first point and behind the last")
	in, out := 0, 0
	ask := func(a netip.Addr) {
		p := netip.PrefixFrom(a, 31)
		if a.Is6() {
			p = netip.PrefixFrom(a, 63)
		}
		want := set[p.Masked()]
		if want {
			in++
		} else {
			out++
		}
		if got := e.Check(key, a); (got == Allowed) != want {
			t.Fatalf("Check of %v is %v; want it in the list: %t", a, got, want)
		}
		if table.contains(newQuery(a)) != want {
			t.Fatalf("contains(%v) is not %t", a, want)
		}
	}
	for _, entry := range list[:n/2] {
		for _, a := range gen.Edges(entry.Prefix) {
			if a.IsValid() {
				ask(a)
			}
		}
	}
	require.Greater(t, in, n/2)
	require.Greater(t, out, n/2)

	for _, c := range []struct {
		name        string
		points      int
		step        uint32 // from one point to the next at most
		every, jump uint32 // and behind so many points a jump
		root        int
	}{
		{"more than eight points for each of so many parts", 4 << 20, 1000, 1 << 31, 0, 1<<20 + 1},
		{"points in few lines of a root with as many parts", 1 << 19, 16, 1 << 11, 1 << 24, 1<<20 + 1},
		{"points in a sixteenth of the range", 1 << 19, 2000, 1 << 31, 0, 1 << 18},
	} {
		var s intervals[uint32]
		for at, k := uint32(1), uint32(1); len(s.points) < c.points; k++ {
			s.add(at, at)
			if at += 2 + r.Uint32N(c.step); k%c.every == 0 {
				at += c.jump - c.every*c.step/2
			}
		}
		points := slices.Clone(s.points)
		s.finish()
		require.InDelta(t, c.root, len(s.root), float64(c.root)/20, c.name)
		in, out := 0, 0
		for i := range n {
			a := points[r.IntN(len(points))] - 1 + r.Uint32N(3)
			if i%4 == 0 {
				a = r.Uint32N(points[len(points)-1] + 100)
			}
			k, found := slices.BinarySearch(points, a)
			if found {
				k++
			}
			if s.contains(a) != (k%2 == 1) {
				t.Fatalf("%s: contains(%#x) is not %t", c.name, a, k%2 == 1)
			}
			if k%2 == 1 {
				in++
			} else {
				out++
			}
		}
		require.Greater(t, in, n/5, c.name)
		require.Greater(t, out, n/5, c.name)
	}
}

// Every set of ranges that end at the largest numbers, with and without one
// before them.
func TestIntervalsAtTheEnd(t *testing.T) {
	t.Run("32", func(t *testing.T) { testIntervalsAtTheEnd[uint32](t) })
	t.Run("64", func(t *testing.T) { testIntervalsAtTheEnd[uint64](t) })
}

func testIntervalsAtTheEnd[T uint32 | uint64](t *testing.T) {
	last := ^T(0)
	for from := T(0); from < 6; from++ {
		for to := T(0); to <= from; to++ {
			for _, before := range []T{0, 6, 7, 100, last} { // 0: none
				var s intervals[T]
				if before != 0 {
					s.add(last-before, last-before)
				}
				if before == 0 || before > from {
					s.add(last-from, last-to)
				}
				s.finish()
				for _, a := range []T{0, 1, last / 2, last - 101, last - 100, last - 99, last - 8, last - 7, last - 6, last - 5, last - 4, last - 3, last - 2, last - 1, last} {
					want := before != 0 && a == last-before || (before == 0 || before > from) && last-from <= a && a <= last-to
					require.Equal(t, want, s.contains(a), "before %d, last-%d to last-%d: last-%d", before, from, to, last-a)
				}
			}
		}
	}
}
