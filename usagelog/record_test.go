package usagelog

import (
	"net/netip"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow"
)

func TestNormalizePath(t *testing.T) {
	long := strings.Repeat("a", MaxPath)
	for _, c := range []struct{ why, in, want string }{
		{"plain", "/v1/items/7", "/v1/items/7"},
		{"empty", "", ""},
		{"query", "/v1/items?token=secret", "/v1/items"},
		{"query only", "?token=secret", ""},
		{"second question mark", "/a?b?c", "/a"},
		{"fragment", "/a#b?c", "/a"},
		{"an encoded question mark is no query", "/a%3Fb", "/a%3Fb"},
		{"line break", "/a\r\nb", "/a%0D%0Ab"},
		{"NUL and DEL", "/\x00\x7f", "/%00%7F"},
		{"not UTF-8", "/\xff\xfe", "/%FF%FE"},
		{"the surrogate that UTF-8 forbids", "/\xed\xa0\x80", "/%ED%A0%80"},
		{"printable beyond ASCII stays", "/größe/日本", "/größe/日本"},
		{"right-to-left override, which turns text around", "/\u202etxt.exe", "/%E2%80%AEtxt.exe"},
		{"letters, marks and symbols that look like nothing", "/a\u3164\u034f\u2800\ufe0f", "/a%E3%85%A4%CD%8F%E2%A0%80%EF%B8%8F"},
		{"line separator", "/\u2028", "/%E2%80%A8"},
		{"C1 control", "/\u0085", "/%C2%85"},
		{"query behind a control character", "/\x01?secret", "/%01"},
		{"exactly the limit", long, long},
		{"one over the limit", long + "b", long[:MaxPath-len(TruncationMark)] + TruncationMark},
		{"query behind the limit", long + "b?secret", long[:MaxPath-len(TruncationMark)] + TruncationMark},
		{"query at the limit", long + "?secret", long},
		{"cut between characters", strings.Repeat("日", 400), strings.Repeat("日", (MaxPath-3)/3) + TruncationMark},
		{"cut between escapes", strings.Repeat("\n", 400), strings.Repeat("%0A", (MaxPath-3)/3) + TruncationMark},
	} {
		require.Equal(t, c.want, Record{Path: c.in}.Normalize().Path, c.why)
	}
	huge := strings.Repeat("\xff", 64<<20)
	begin := time.Now()
	require.LessOrEqual(t, len(Record{Path: huge, KeyID: huge}.Normalize().Path), MaxPath)
	require.Less(t, time.Since(begin), time.Second, "a huge path costs no more than a long one")
}

func TestNormalizeFields(t *testing.T) {
	in := Record{
		Time: time.Unix(-5, 0), RequestID: "a\tb", KeyID: strings.Repeat("k", 200), Method: "G\xffT", Status: 99,
		ClientAddr: netip.MustParseAddr("::ffff:203.0.113.5"), Verdict: ipallow.Unrestricted + 1, Duration: -1,
	}
	got := in.Normalize()
	require.Equal(t, Record{
		Time: time.Unix(0, 0).UTC(), RequestID: "a\ufffdb", KeyID: strings.Repeat("k", MaxKeyID-3) + TruncationMark, Method: "G\ufffdT",
		ClientAddr: netip.MustParseAddr("203.0.113.5"),
	}, got)
	require.Equal(t, netip.MustParseAddr("fe80::1"), Record{ClientAddr: netip.MustParseAddr("fe80::1%eth0")}.Normalize().ClientAddr)
	now := time.Now() // with a monotonic reading and a zone
	require.True(t, Record{Time: now}.Normalize() == Record{Time: now.UTC().Round(0)}.Normalize())
	require.Equal(t, maxTime, Record{Time: time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)}.Normalize().Time)
	require.Equal(t, 0, Record{Status: 1000}.Normalize().Status)
	require.Equal(t, 999, Record{Status: 999}.Normalize().Status)
}

func TestNormalizeEntry(t *testing.T) {
	addr, none := netip.MustParseAddr("::ffff:203.0.113.5"), netip.Prefix{}
	for _, c := range []struct {
		why         string
		addr        netip.Addr
		entry, want netip.Prefix
	}{
		{"the address itself", addr, netip.MustParsePrefix("203.0.113.5/32"), netip.MustParsePrefix("203.0.113.5/32")},
		{"a mapped prefix is IPv4", addr, netip.MustParsePrefix("::ffff:203.0.113.0/120"), netip.MustParsePrefix("203.0.113.0/24")},
		{"a mapped prefix that is more than IPv4", addr, netip.MustParsePrefix("::ffff:0.0.0.0/90"), none},
		{"bits of the host", addr, netip.MustParsePrefix("203.0.113.77/24"), netip.MustParsePrefix("203.0.113.0/24")},
		{"one that does not contain the address", addr, netip.MustParsePrefix("198.51.100.0/24"), none},
		{"one of the other family", addr, netip.MustParsePrefix("::/0"), none},
		{"without an address", netip.Addr{}, netip.MustParsePrefix("0.0.0.0/0"), none},
		{"an impossible one", addr, netip.PrefixFrom(netip.MustParseAddr("203.0.113.0"), 99), none},
		{"none", addr, none, none},
	} {
		got := Record{ClientAddr: c.addr, Entry: c.entry, Label: "off\tice", List: "cl\xffoud"}.Normalize()
		require.Equal(t, c.want, got.Entry, c.why)
		if c.want.IsValid() {
			require.Equal(t, "off\ufffdice cl\ufffdoud", got.Label+" "+got.List, c.why)
		} else {
			require.Empty(t, got.Label+got.List, c.why)
		}
		require.Equal(t, got, got.Normalize(), c.why)
	}
	long := strings.Repeat("日", 200)
	got := Record{ClientAddr: addr, Entry: netip.MustParsePrefix("0.0.0.0/0"), Label: long, List: long}.Normalize()
	require.Equal(t, strings.Repeat("日", 132)+TruncationMark, got.Label)
	require.Equal(t, strings.Repeat("日", 41)+TruncationMark, got.List)
}

// Labels of people who write no English cost no allocation.
func TestCleanTextAllocs(t *testing.T) {
	for _, s := range []string{"office", "Büro", "東京", strings.Repeat("é", MaxLabel/2), "\ufffd"} {
		got := ""
		require.Zero(t, testing.AllocsPerRun(100, func() { got = cleanText(s, MaxLabel) }), s)
		require.Equal(t, s, got)
	}
	require.Equal(t, "a\ufffdb\ufffd", cleanText("a\xefb\u202e", MaxLabel))
}

func FuzzNormalize(f *testing.F) {
	f.Add("/v1?x", "req", "GET")                                    // the usual
	f.Add("/\xff\u202e", "\x00", "日")                               // everything that is replaced
	f.Add(strings.Repeat("ä", 600), strings.Repeat("\n", 130), "…") // cuts at the limit
	f.Fuzz(func(t *testing.T, path, id, method string) {
		once := Record{Path: path, RequestID: id, KeyID: id, Method: method}.Normalize()
		require.Equal(t, once, once.Normalize(), "normalising again changes nothing")
		require.NotContains(t, once.Path, "?")
		for text, limit := range map[string]int{once.Path: MaxPath, once.RequestID: MaxRequestID, once.Method: MaxMethod} {
			require.LessOrEqual(t, len(text), max(limit, MaxMethod))
			require.True(t, utf8.ValidString(text))
			require.False(t, strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f }))
		}
		require.LessOrEqual(t, len(once.Method), MaxMethod)
	})
}

func TestRecordID(t *testing.T) {
	id := newRecordID(0x0123456789abcdef, 42)
	require.Equal(t, "0123456789abcdef000000000000002a", id.String())
	back, err := ParseRecordID(id.String())
	require.NoError(t, err)
	require.Equal(t, id, back)
	for _, s := range []string{"", "0", strings.Repeat("g", 32), strings.Repeat("0", 33), strings.Repeat("0", 64)} {
		_, err := ParseRecordID(s)
		require.Error(t, err, "%q", s)
		keep := id
		require.Error(t, keep.UnmarshalText([]byte(s)))
		require.Equal(t, id, keep)
	}
	text, err := id.MarshalText()
	require.NoError(t, err)
	var read RecordID
	require.NoError(t, read.UnmarshalText(text))
	require.Equal(t, id, read)
	require.Negative(t, id.Compare(newRecordID(0x0123456789abcdef, 256)), "later numbers are greater")
	require.True(t, RecordID{}.IsZero())
	require.False(t, id.IsZero())
}

func TestCursor(t *testing.T) {
	for _, p := range []Position{{time.Unix(0, 0).UTC(), RecordID{}}, {maxTime, newRecordID(1, 2)}, {start, newRecordID(1<<63, 1)}} {
		back, err := parseCursor(p.Cursor())
		require.NoError(t, err)
		require.Equal(t, p, back)
	}
	good := Position{start, newRecordID(1, 2)}.Cursor()
	for _, s := range []string{"x", good[1:], good + "A", "_" + good[1:], good[:33] + "B", strings.Repeat("A", 34)} {
		_, err := parseCursor(s)
		require.ErrorIs(t, err, ErrQuery, "%q", s)
	}
}

func TestStatsNames(t *testing.T) {
	l := Losses{Closed: 3, QueueFull: 4}
	require.EqualValues(t, 7, l.Total())
	var names []string
	for c, n := range l.All() {
		require.Equal(t, l[c], n)
		names = append(names, c.String())
		require.Contains(t, (&LostError{c}).Error(), c.String())
	}
	require.Equal(t, []string{"queue_full", "spill_full", "wal_failed", "rejected", "damaged", "closed"}, names)
	for range l.All() {
		break
	}
	require.Equal(t, "cause(200)", Cause(200).String())
}

func TestMemoryStoreForgetsTheOldest(t *testing.T) {
	s := NewMemoryStore(3)
	for i, n := range []int{5, 1, 4, 2, 3, 0} {
		r := sample(n)
		r.ID = newRecordID(1, uint64(i+1))
		require.NoError(t, s.Append(t.Context(), []Record{r}))
	}
	have := stored(t, s)
	require.Equal(t, map[string]int{"req-5": 1, "req-4": 1, "req-3": 1}, have)
	require.Len(t, s.ids, 3)
}
