package ipallow

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// A spans answers what a loop over its ranges answers: at the ends of the
// numbers, with ranges that touch, nest and overlap, and at every edge.
func TestSpans(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 5))
	var empty spans[uint64]
	empty.finish()
	require.False(t, empty.contains(0) || empty.contains(1) || empty.contains(math.MaxUint64))
	in, out := 0, 0
	for round := range 400 {
		var s spans[uint32]
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

// Every set of ranges that end at the largest numbers, with and without one
// before them.
func TestSpansAtTheEnd(t *testing.T) {
	t.Run("32", func(t *testing.T) { testSpansAtTheEnd[uint32](t) })
	t.Run("64", func(t *testing.T) { testSpansAtTheEnd[uint64](t) })
}

func testSpansAtTheEnd[T uint32 | uint64](t *testing.T) {
	last := ^T(0)
	for from := T(0); from < 6; from++ {
		for to := T(0); to <= from; to++ {
			for _, before := range []T{0, 6, 7, 100, last} { // 0: none
				var s spans[T]
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
