package ipallow

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/ipallow/ipallow/internal/gen"
	"github.com/ipallow/ipallow/internal/naive"
	"github.com/stretchr/testify/require"
)

// Random lists under random policies, against the naive model: the same
// faults in the same order, or the same canonical list.
func TestValidateVsNaive(t *testing.T) {
	t.Parallel()
	r, seen := rand.New(rand.NewPCG(5, 6)), tally{}
	for range 20_000 {
		p := DefaultPolicy()
		if r.IntN(2) == 0 {
			p = Policy{MaxEntries: r.IntN(8), MinBits4: r.IntN(34), MinBits6: r.IntN(130), MaxLabel: r.IntN(101), AllowNonPublic: r.IntN(2) == 0}
		}
		var texts []naive.Text
		var mine []EntryText
		for range r.IntN(6) {
			x := naive.Text{Entry: gen.Text(r), Label: gen.Label(r)}
			if len(texts) > 0 && r.IntN(4) == 0 {
				x = texts[r.IntN(len(texts))]
			}
			texts, mine = append(texts, x), append(mine, EntryText(x))
		}
		want, faults := toNaive(p).ParseList(texts)
		got, err := p.ParseEntries(mine)
		requireFaults(t, faults, err, seen, "%#v.ParseEntries(%#v)", p, mine)
		require.True(t, len(faults) > 0 && got == nil || fmt.Sprint(fromNaive(want)) == fmt.Sprint(got), "%#v.ParseEntries(%#v) = %v", p, mine, got)

		raw := gen.RawList(r, r.IntN(5))
		_, faults = toNaive(p).Validate(raw)
		requireFaults(t, faults, p.Validate(fromNaive(raw)), seen, "%#v.Validate(%s)", p, literal(raw))
	}
	seen.require(t, 20, "", naive.InvalidSyntax, naive.Zone, naive.HostBits, naive.TooBroad, naive.NotPublic,
		naive.Duplicate, naive.TooManyEntries, naive.LabelTooLong)
}

func requireFaults(t testing.TB, want []naive.Fault, err error, seen tally, format string, args ...any) {
	t.Helper()
	var list []string
	for _, f := range want {
		seen[f.Code]++
		list = append(list, fmt.Sprintf("%d %s", f.Index, f.Code))
	}
	if len(want) == 0 {
		seen[""]++
	}
	if got := codes(t, err); fmt.Sprint(got) != fmt.Sprint(list) {
		t.Fatalf("%s: %v, want %v", fmt.Sprintf(format, args...), got, list)
	}
	var v *ValidationError
	if errors.As(err, &v) {
		for i, f := range want {
			if f.Code == naive.Duplicate && (v.Entries[i].First != f.First || v.Entries[i].Suggestion != fmt.Sprintf("entry %d", f.First+1)) {
				t.Fatalf("%s: %v, want the duplicate of %d", fmt.Sprintf(format, args...), v.Entries[i], f.First)
			}
		}
	}
}
