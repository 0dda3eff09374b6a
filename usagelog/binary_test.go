package usagelog

import (
	"bytes"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow"
)

func TestBinaryRoundTrip(t *testing.T) {
	var all []byte
	for _, r := range extremes() {
		b := AppendBinary([]byte("before"), &r)[len("before"):]
		require.LessOrEqual(t, len(b), MaxBinary)
		got := ReadBinary(append(bytes.Clone(b), "behind"...))
		require.Len(t, got, len(b))
		require.Equal(t, r, got.Decode())
		require.Equal(t, b, AppendBinary(nil, &r))

		require.Equal(t, r.ID, got.ID())
		require.Equal(t, r.Time.UnixNano(), got.UnixNano())
		require.Equal(t, r.Status, got.Status())
		require.Equal(t, r.Verdict, got.Verdict())
		require.Equal(t, r.ClientAddr, got.ClientAddr())
		require.Equal(t, r.KeyID, string(got.KeyID()))
		require.Equal(t, r.Method, string(got.Method()))
		require.Equal(t, r.RequestID, string(got.RequestID()))
		require.Equal(t, r.Path, string(got.Path()))
		require.Equal(t, r.Requests(), got.Requests())
		all = append(all, b...)
	}
	for _, r := range extremes() {
		b := ReadBinary(all)
		require.Equal(t, r, b.Decode())
		all = all[len(b):]
	}
	require.Empty(t, all)
	require.Nil(t, ReadBinary(nil))
}

// What a store may be given by somebody other than a Writer is normalised, or
// it could not be read back.
func TestAppendBinaryNormalizes(t *testing.T) {
	r := Record{
		Time: time.Date(2026, 3, 1, 12, 0, 0, 0, time.FixedZone("", 3600)), Path: "/a?secret=1",
		KeyID: "\xff", RequestID: string(make([]byte, 1<<17)), Status: -1, Verdict: 77, Duration: -1,
	}
	got := ReadBinary(AppendBinary(nil, &r))
	require.NotNil(t, got)
	require.Equal(t, r.Normalize(), got.Decode())
}

func TestReadBinaryFindsDamage(t *testing.T) {
	r := sample(1)
	whole := AppendBinary(nil, &r)
	for n := range whole {
		require.Nil(t, ReadBinary(whole[:n]), "cut to %d bytes", n)
		for bit := range 8 {
			b := bytes.Clone(whole)
			b[n] ^= 1 << bit
			require.Nil(t, ReadBinary(b), "bit %d of byte %d flipped", bit, n)
		}
	}
	r.KeyID = "\xff"
	require.Nil(t, ReadBinary(appendFrame(nil, &r)), "a text that is no UTF-8")
}

func TestSkipBinary(t *testing.T) {
	var b []byte
	var at []int
	for n := range 3 {
		r := sample(n)
		at = append(at, len(b))
		b = AppendBinary(b, &r)
	}
	require.Equal(t, at[1], SkipBinary(b))
	require.Equal(t, at[2]-at[1], SkipBinary(b[at[1]:]))
	require.Equal(t, len(b)-at[2], SkipBinary(b[at[2]:]))
	require.Equal(t, at[1]-3, SkipBinary(b[3:]), "from inside a record")
	for n := range 7 {
		require.Equal(t, n, SkipBinary(make([]byte, n)))
	}
	// Damage costs one record.
	b[at[1]+20] ^= 1
	var got []string
	for len(b) > 0 {
		rec := ReadBinary(b)
		if rec == nil {
			b = b[SkipBinary(b):]
			continue
		}
		r := rec.Decode()
		got = append(got, r.RequestID)
		b = b[len(rec):]
	}
	require.Equal(t, []string{"req-0", "req-2"}, got)
}

// Match must say what Filter.Match says.
func TestBinaryMatch(t *testing.T) {
	denied, allowed := ipallow.Denied, ipallow.Allowed
	var filters []Filter
	for _, key := range []string{"", "key-1", "key-", "none"} {
		for _, method := range []string{"", "GET", "get"} {
			for _, status := range []int{0, 200, 403} {
				for _, class := range []int{0, 2, 4} {
					for _, v := range []*ipallow.Verdict{nil, &denied, &allowed} {
						for _, from := range []time.Time{{}, start.Add(5 * time.Millisecond), time.Date(1, 1, 1, 0, 0, 0, 1, time.UTC)} {
							for _, to := range []time.Time{{}, start.Add(15 * time.Millisecond), time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)} {
								filters = append(filters, Filter{
									KeyID: key, Method: method, Status: status, StatusClass: class, Verdict: v, From: from, To: to,
								})
							}
						}
					}
				}
			}
		}
	}
	for _, outcome := range []Outcome{AnyOutcome, Blocked, Reported} {
		for _, network := range []netip.Prefix{{}, netip.MustParsePrefix("203.0.113.0/24"), netip.MustParsePrefix("203.0.113.5/32"), netip.MustParsePrefix("::/0"), netip.MustParsePrefix("0.0.0.0/0")} {
			for _, request := range []string{"", "req-1", "req-", sample(7).RequestID} {
				for _, path := range []string{"", "/", "/V1", "/v1", sample(7).Path, sample(7).Path + "x"} {
					filters = append(filters, Filter{Outcome: outcome, ClientNet: network, RequestID: request, PathPrefix: path})
				}
			}
		}
	}
	matched := 0
	for n := range 30 {
		r := sample(n)
		if n%3 == 0 {
			r.Status, r.Verdict, r.Method = 403, denied, "get"
		}
		b := ReadBinary(AppendBinary(nil, &r))
		for i := range filters {
			want := filters[i].Match(&r)
			if want {
				matched++
			}
			require.Equal(t, want, b.Match(&filters[i]), "%+v of %+v", filters[i], r)
		}
	}
	require.Positive(t, matched)
	require.Less(t, matched, 30*len(filters))
}

func TestBinaryAllocs(t *testing.T) {
	r := sample(1)
	buf := make([]byte, 0, MaxBinary)
	f := Filter{KeyID: "key-1", Method: "GET", StatusClass: 2, From: start}
	require.Zero(t, testing.AllocsPerRun(100, func() {
		b := ReadBinary(AppendBinary(buf[:0], &r))
		if !b.Match(&f) || b.ID() != r.ID || b.ClientAddr() != r.ClientAddr {
			t.Fatal("not the record")
		}
	}))
	b := ReadBinary(AppendBinary(nil, &r))
	require.LessOrEqual(t, testing.AllocsPerRun(100, func() { r = b.Decode() }), 1.0)
}

func BenchmarkBinary(b *testing.B) {
	r := benchRecord()
	r.Time = r.Time.UTC().Round(0)
	buf := AppendBinary(nil, &r)
	b.Run("op=append", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			buf = AppendBinary(buf[:0], &r)
		}
	})
	b.Run("op=read", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if ReadBinary(buf) == nil {
				b.Fatal("not sound")
			}
		}
	})
	b.Run("op=decode", func(b *testing.B) {
		rec := ReadBinary(buf)
		b.ReportAllocs()
		for b.Loop() {
			r = rec.Decode()
		}
	})
}
