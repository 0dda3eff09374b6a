package ipallow

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
)

func randPrefix(r *rand.Rand) netip.Prefix {
	if r.IntN(5) > 0 {
		var b [4]byte
		b[0] = 198
		b[1] = byte(r.IntN(3))
		b[2] = byte(r.IntN(256))
		b[3] = byte(r.IntN(256))
		p, _ := netip.AddrFrom4(b).Prefix(9 + r.IntN(24))
		return p
	}
	var b [16]byte
	b[0], b[1] = 0x20, 1
	for i := 4; i < 16; i++ {
		b[i] = byte(r.IntN(4))
	}
	p, _ := netip.AddrFrom16(b).Prefix(33 + r.IntN(96))
	return p
}

func TestSmoke(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	e := New(nil)
	m := map[string][]netip.Prefix{}
	for i := range 20000 {
		k := fmt.Sprintf("key%d", r.IntN(5000))
		if i > 15000 || r.IntN(4) == 0 {
			e.Delete(k)
			delete(m, k)
			continue
		}
		var l []Entry
		var pp []netip.Prefix
		for range r.IntN(20) {
			p := randPrefix(r)
			dup := false
			for _, q := range pp {
				dup = dup || q == p
			}
			if !dup {
				pp = append(pp, p)
				l = append(l, Entry{Prefix: p, Label: fmt.Sprint(p)[:r.IntN(4)]})
			}
		}
		require.NoError(t, e.Set(k, l))
		if len(pp) == 0 {
			delete(m, k)
		} else {
			m[k] = pp
			got, ok := e.Snapshot().Entries(k)
			require.True(t, ok)
			require.Equal(t, l, got)
		}
		for range 3 {
			k := fmt.Sprintf("key%d", r.IntN(5000))
			a := randPrefix(r).Addr()
			want := Unrestricted
			if pp, ok := m[k]; ok {
				want = Denied
				for _, p := range pp {
					if p.Contains(a) {
						want = Allowed
					}
				}
			}
			require.Equal(t, want, e.Check(k, a))
			require.Equal(t, want, e.Explain(k, a).Verdict)
		}
	}
	s := e.Snapshot()
	require.Equal(t, len(m), s.Len())
	e2 := New(nil)
	require.NoError(t, e2.Replace(s.All()))
	require.Equal(t, len(m), e2.Snapshot().Len())
	for k, l := range s.All() {
		got, _ := e2.Snapshot().Entries(k)
		require.Equal(t, l, got)
	}
	t.Log(s.index.bits, s.Len(), s.rev)
}
