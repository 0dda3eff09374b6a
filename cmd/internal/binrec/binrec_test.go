package binrec

import (
	"bytes"
	"fmt"
	"math"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow"
	"github.com/ipallow/ipallow/usagelog"
)

// start is when the records of the tests begin.
var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// sample returns the n-th record; its RequestID tells n.
func sample(n int) usagelog.Record {
	return usagelog.Record{
		Time:      start.Add(time.Duration(n) * time.Millisecond),
		RequestID: fmt.Sprintf("req-%d", n), KeyID: fmt.Sprintf("key-%d", n%7), Method: "GET",
		Path: fmt.Sprintf("/v1/items/%d", n), Status: 200,
		ClientAddr: netip.AddrFrom4([4]byte{203, 0, 113, byte(n)}), Verdict: ipallow.Allowed,
		Duration: time.Duration(n) * time.Microsecond,
	}
}

// extremes returns records at the limits of every field.
func extremes() []usagelog.Record {
	long := usagelog.Record{
		RequestID: strings.Repeat("r", usagelog.MaxRequestID), KeyID: strings.Repeat("k", usagelog.MaxKeyID),
		Method: strings.Repeat("M", usagelog.MaxMethod), Path: strings.Repeat("/", usagelog.MaxPath),
	}
	more := long
	more.More, more.ClientAddr = 0xfafffaff, netip.MustParseAddr("2001:db8::1")
	recs := []usagelog.Record{
		sample(1),
		{},
		{
			ID:   usagelog.RecordID(bytes.Repeat([]byte{0xff}, 16)),
			Time: time.Unix(0, math.MaxInt64), Duration: math.MaxInt64, Status: 999, Verdict: ipallow.Unrestricted,
			ClientAddr: netip.MustParseAddr("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
		},
		{ClientAddr: netip.IPv4Unspecified()},
		{ClientAddr: netip.IPv6Unspecified()},
		{Path: "/größe/日本", KeyID: "…"},
		{More: 1},
		{More: math.MaxUint32, ClientAddr: netip.MustParseAddr("203.0.113.5"), Path: "/v1"},
		{ClientAddr: netip.MustParseAddr("203.0.113.5"), Entry: netip.MustParsePrefix("203.0.113.0/24"), Label: "Büro", List: "cloud"},
		{ClientAddr: netip.MustParseAddr("203.0.113.5"), Entry: netip.MustParsePrefix("0.0.0.0/0")},
		{ClientAddr: netip.MustParseAddr("2001:db8::1"), Entry: netip.MustParsePrefix("2001:db8::1/128"), List: "cloud", More: 7},
		{
			RequestID: strings.Repeat("r", usagelog.MaxRequestID), KeyID: strings.Repeat("k", usagelog.MaxKeyID),
			Method: strings.Repeat("M", usagelog.MaxMethod), Path: strings.Repeat("/", usagelog.MaxPath), More: 0xfafffaff,
			ClientAddr: netip.MustParseAddr("2001:db8::1"), Entry: netip.MustParsePrefix("::/0"),
			Label: strings.Repeat("l", usagelog.MaxLabel), List: strings.Repeat("L", usagelog.MaxList),
		},
		// An address that spells the magic of a frame.
		{ClientAddr: netip.AddrFrom16([16]byte(bytes.Repeat([]byte{magic0, magic1}, 8)))},
		long, more,
	}
	for i := range recs {
		recs[i] = recs[i].Normalize()
	}
	return recs
}

// TestStoredForm holds what is written to what is stored: the bytes of a record
// never change, or no log that exists could be read.
func TestStoredForm(t *testing.T) {
	r := sample(7)
	r.ID[15], r.More = 9, 3
	require.Equal(t, "a72ea797fffa550000000000000000000000000000000009c04f41b4d9b59818581b000000000000c8000184cb0071070000000000000000000000000505030b007265712d376b65792d304745542f76312f6974656d732f3703000000", fmt.Sprintf("%x", Append(nil, &r)))
}

// A record with an entry is longer by its bits, label and list.
func TestStoredEntry(t *testing.T) {
	r := sample(7)
	r.ID[15], r.More = 9, 3
	r.Entry, r.Label, r.List = netip.MustParsePrefix("203.0.113.0/25"), "Büro", "cloud"
	require.Equal(t, "b51e7468fffa630000000000000000000000000000000009c04f41b4d9b59818581b000000000000c80001c4cb0071070000000000000000000000000505030b007265712d376b65792d304745542f76312f6974656d732f371905000542c3bc726f636c6f756403000000", fmt.Sprintf("%x", Append(nil, &r)))
}

func TestRoundTrip(t *testing.T) {
	var all []byte
	for _, r := range extremes() {
		b := Append([]byte("before"), &r)[len("before"):]
		require.LessOrEqual(t, len(b), MaxLen)
		got := Read(append(bytes.Clone(b), "behind"...))
		require.Len(t, got, len(b))
		require.Equal(t, r, got.Decode())
		require.Equal(t, b, Append(nil, &r))

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
		b := Read(all)
		require.Equal(t, r, b.Decode())
		all = all[len(b):]
	}
	require.Empty(t, all)
	require.Nil(t, Read(nil))
}

// What a store may be given by somebody other than a Writer is normalised, or
// it could not be read back.
func TestAppendNormalizes(t *testing.T) {
	r := usagelog.Record{
		Time: time.Date(2026, 3, 1, 12, 0, 0, 0, time.FixedZone("", 3600)), Path: "/a?secret=1",
		KeyID: "\xff", RequestID: string(make([]byte, 1<<17)), Status: -1, Verdict: 77, Duration: -1,
	}
	got := Read(Append(nil, &r))
	require.NotNil(t, got)
	require.Equal(t, r.Normalize(), got.Decode())
}

func TestReadFindsDamage(t *testing.T) {
	r := sample(1)
	r.Entry, r.Label, r.List = netip.MustParsePrefix("203.0.113.0/24"), "office", "cloud"
	whole := Append(nil, &r)
	for n := range whole {
		require.Nil(t, Read(whole[:n]), "cut to %d bytes", n)
		for bit := range 8 {
			b := bytes.Clone(whole)
			b[n] ^= 1 << bit
			require.Nil(t, Read(b), "bit %d of byte %d flipped", bit, n)
		}
	}
	r.KeyID = "\xff"
	require.Nil(t, Read(appendFrame(nil, &r)), "a text that is no UTF-8")
	r.KeyID, r.Label = "k", "\xff"
	require.Nil(t, Read(appendFrame(nil, &r)), "a label that is no UTF-8")
	r.Label, r.Entry = "l", netip.MustParsePrefix("::/128")
	require.Nil(t, Read(appendFrame(nil, &r)), "an entry longer than the address")
}

func TestSkip(t *testing.T) {
	var b []byte
	var at []int
	for n := range 3 {
		r := sample(n)
		at = append(at, len(b))
		b = Append(b, &r)
	}
	require.Equal(t, at[1], Skip(b))
	require.Equal(t, at[2]-at[1], Skip(b[at[1]:]))
	require.Equal(t, len(b)-at[2], Skip(b[at[2]:]))
	require.Equal(t, at[1]-3, Skip(b[3:]), "from inside a record")
	for n := range 7 {
		require.Equal(t, n, Skip(make([]byte, n)))
	}
	// Damage costs one record.
	b[at[1]+20] ^= 1
	var got []string
	for len(b) > 0 {
		rec := Read(b)
		if rec == nil {
			b = b[Skip(b):]
			continue
		}
		r := rec.Decode()
		got = append(got, r.RequestID)
		b = b[len(rec):]
	}
	require.Equal(t, []string{"req-0", "req-2"}, got)
}

// Match must say what Filter.Match says.
func TestMatch(t *testing.T) {
	denied, allowed := ipallow.Denied, ipallow.Allowed
	var filters []usagelog.Filter
	for _, key := range []string{"", "key-1", "key-", "none"} {
		for _, method := range []string{"", "GET", "get"} {
			for _, status := range []int{0, 200, 403} {
				for _, class := range []int{0, 2, 4} {
					for _, v := range []*ipallow.Verdict{nil, &denied, &allowed} {
						for _, from := range []time.Time{{}, start.Add(5 * time.Millisecond), time.Date(1, 1, 1, 0, 0, 0, 1, time.UTC)} {
							for _, to := range []time.Time{{}, start.Add(15 * time.Millisecond), time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)} {
								filters = append(filters, usagelog.Filter{
									KeyID: key, Method: method, Status: status, StatusClass: class, Verdict: v, From: from, To: to,
								})
							}
						}
					}
				}
			}
		}
	}
	for _, outcome := range []usagelog.Outcome{usagelog.AnyOutcome, usagelog.Blocked, usagelog.Reported} {
		for _, network := range []netip.Prefix{{}, netip.MustParsePrefix("203.0.113.0/24"), netip.MustParsePrefix("203.0.113.5/32"), netip.MustParsePrefix("::/0"), netip.MustParsePrefix("0.0.0.0/0")} {
			for _, request := range []string{"", "req-1", "req-", sample(7).RequestID} {
				for _, path := range []string{"", "/", "/V1", "/v1", sample(7).Path, sample(7).Path + "x"} {
					filters = append(filters, usagelog.Filter{Outcome: outcome, ClientNet: network, RequestID: request, PathPrefix: path})
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
		b := Read(Append(nil, &r))
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

func TestAllocs(t *testing.T) {
	r := sample(1)
	r.Entry, r.Label = netip.MustParsePrefix("203.0.113.0/24"), "Büro"
	buf := make([]byte, 0, MaxLen)
	f := usagelog.Filter{KeyID: "key-1", Method: "GET", StatusClass: 2, From: start}
	require.Zero(t, testing.AllocsPerRun(100, func() {
		b := Read(Append(buf[:0], &r))
		if !b.Match(&f) || b.ID() != r.ID || b.ClientAddr() != r.ClientAddr {
			t.Fatal("not the record")
		}
	}))
	b := Read(Append(nil, &r))
	require.LessOrEqual(t, testing.AllocsPerRun(100, func() { r = b.Decode() }), 1.0)
}

func BenchmarkRecord(b *testing.B) {
	r := sample(1)
	r.Time = r.Time.UTC().Round(0)
	buf := Append(nil, &r)
	b.Run("op=append", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			buf = Append(buf[:0], &r)
		}
	})
	b.Run("op=read", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if Read(buf) == nil {
				b.Fatal("not sound")
			}
		}
	})
	b.Run("op=decode", func(b *testing.B) {
		rec := Read(buf)
		b.ReportAllocs()
		for b.Loop() {
			r = rec.Decode()
		}
	})
}
