package logstore

import (
	"maps"
	"math/rand/v2"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow"
	"github.com/ipallow/ipallow/cmd/internal/manage"
	"github.com/ipallow/ipallow/usagelog"
)

// all returns what a store streams.
func all(t testing.TB, s usagelog.Store, f usagelog.Filter) []usagelog.Record {
	t.Helper()
	var recs []usagelog.Record
	for r, err := range s.Stream(t.Context(), f) {
		require.NoError(t, err)
		recs = append(recs, r)
	}
	return recs
}

// same fails unless both stores have the same records for f, in order.
func same(t testing.TB, want, got usagelog.Store, f usagelog.Filter) int {
	t.Helper()
	w, g := all(t, want, f), all(t, got, f)
	for i := range min(len(w), len(g)) {
		if w[i] != g[i] {
			t.Fatalf("%+v: record %d is\n%#v, want\n%#v", f, i, g[i], w[i])
		}
	}
	require.Len(t, g, len(w), "%+v", f)
	return len(w)
}

// A source makes records of few values, so that they collide in all ways: IDs
// in runs and apart, times that are the same, close, late by hours or days.
type source struct {
	rnd  *rand.Rand
	next [3]uint64 // numbers of three Writers
	now  time.Time
	past []usagelog.Record
}

var sourceKeys = []string{"", "key_a", "key_b", "KEY_A", "key_a ", "key%", "'; DROP TABLE blocks; --", "key_ä", "\"", "`"}

func (s *source) record() usagelog.Record {
	if len(s.past) > 0 && s.rnd.IntN(12) == 0 {
		return s.past[s.rnd.IntN(len(s.past))] // given again
	}
	w := s.rnd.IntN(len(s.next))
	switch n := s.rnd.IntN(30); n {
	case 0:
		s.next[w] += uint64(s.rnd.IntN(5)) // a gap
	case 1:
		s.next[w] = s.rnd.Uint64() // anywhere
	}
	s.next[w]++
	id := usagelog.RecordID{0: byte(w) * 0x7f}
	for i := range 8 {
		id[15-i] = byte(s.next[w] >> (8 * i))
	}
	id[1] |= 1 // never zero
	s.now = s.now.Add(time.Duration(s.rnd.IntN(3)) * time.Millisecond)
	late := []time.Duration{0, 0, 0, 0, time.Millisecond, time.Second, 2 * time.Minute, time.Hour, 10 * time.Hour, 100 * time.Hour}[s.rnd.IntN(10)]
	r := usagelog.Record{
		ID: id, Time: s.now.Add(-late), KeyID: sourceKeys[s.rnd.IntN(len(sourceKeys))],
		Method: []string{"GET", "POST", "get", "' OR 1=1"}[s.rnd.IntN(4)], Path: "/v1/" + sourceKeys[s.rnd.IntN(len(sourceKeys))],
		Status: []int{0, 200, 201, 301, 401, 403, 403, 404, 500, 503, 999}[s.rnd.IntN(11)], RequestID: []string{"", "req", "req-" + strconv.FormatUint(s.next[w], 36)}[s.rnd.IntN(3)],
		ClientAddr: []netip.Addr{{}, netip.MustParseAddr("203.0.113.5"), netip.MustParseAddr("203.0.113.6"), netip.MustParseAddr("2001:db8::1"), netip.IPv4Unspecified(), netip.IPv6Unspecified()}[s.rnd.IntN(6)],
		Verdict:    ipallow.Verdict(s.rnd.IntN(3)), Duration: time.Duration(s.rnd.IntN(1000)),
		More: []uint32{0, 0, 0, 0, 0, 0, 1, 1 << 31}[s.rnd.IntN(8)],
	}.Normalize()
	s.past = append(s.past, r)
	return r
}

func (s *source) batch(n int) []usagelog.Record {
	recs := make([]usagelog.Record, n)
	for i := range recs {
		recs[i] = s.record()
	}
	return recs
}

func (s *source) filter() usagelog.Filter {
	var f usagelog.Filter
	pick := func() bool { return s.rnd.IntN(3) == 0 }
	if pick() {
		f.KeyID = sourceKeys[s.rnd.IntN(len(sourceKeys))]
	}
	if pick() {
		f.Method = []string{"GET", "POST", "get", "' OR 1=1", "%"}[s.rnd.IntN(5)]
	}
	if pick() {
		f.Status = []int{200, 403, 999, 418}[s.rnd.IntN(4)]
	}
	if pick() {
		f.StatusClass = s.rnd.IntN(10)
	}
	if pick() {
		v := ipallow.Verdict(s.rnd.IntN(3))
		f.Verdict = &v
	}
	if s.rnd.IntN(9) == 0 {
		f.Outcome = usagelog.Outcome(s.rnd.IntN(3))
	}
	if pick() {
		f.ClientNet = netip.MustParsePrefix([]string{"203.0.113.5/32", "203.0.113.4/30", "203.0.113.7/24", "0.0.0.0/0", "2001:db8::/32", "::/0", "2001:db8::1/128", "192.0.2.1/32"}[s.rnd.IntN(8)])
	}
	if pick() {
		f.PathPrefix = []string{"/", "/v1/", "/v1/key", "/v1/key_a", "/V1", "/v1/'", "/v1/%"}[s.rnd.IntN(7)]
	}
	if len(s.past) > 0 && pick() && pick() {
		f.RequestID = s.past[s.rnd.IntN(len(s.past))].RequestID
	}
	if len(s.past) > 0 && pick() {
		f.From = s.past[s.rnd.IntN(len(s.past))].Time.Add(time.Duration(s.rnd.IntN(3) - 1))
	}
	if len(s.past) > 0 && pick() {
		f.To = s.past[s.rnd.IntN(len(s.past))].Time.Add(time.Duration(s.rnd.IntN(3) - 1))
	}
	return f
}

// TestAgainstModel does the same to a Store and to a MemoryStore, in random
// sequences, and compares all that can be asked for. The Store is closed and
// opened again on the way.
func TestAgainstModel(t *testing.T) {
	seeds := 2
	if testing.Short() {
		seeds = 1
	}
	matched, counted, merged := 0, int64(0), false
	for seed := range seeds {
		src := &source{rnd: rand.New(rand.NewPCG(uint64(seed), 1)), now: begin}
		model := usagelog.NewMemoryStore(0)
		path := filepath.Join(t.TempDir(), "usage.db")
		s, err := Open(t.Context(), Options{Path: path})
		require.NoError(t, err)
		for step := range 20 {
			n := []int{1, 1, 2, 7, 30, 150, 500, 1100, 2500}[src.rnd.IntN(9)]
			recs := src.batch(n)
			require.NoError(t, model.Append(t.Context(), recs))
			require.NoError(t, s.Append(t.Context(), recs))
			require.EqualValues(t, model.Len(), s.Stats().Records)
			if step%8 == 7 {
				require.NoError(t, s.Close())
				s, err = Open(t.Context(), Options{Path: path})
				require.NoError(t, err)
			}
			for range 8 {
				matched += comparePages(t, src, model, s)
			}
			compareSeen(t, src, model, s)
			for range 6 {
				counted += compareSummary(t, src, model, s)
			}
		}
		same(t, model, s, usagelog.Filter{})
		matched += same(t, model, s, src.filter())
		checkBlocks(t, s)
		st := s.Stats()
		require.Zero(t, st.DamagedBlocks)
		require.Equal(t, all(t, model, usagelog.Filter{})[model.Len()-1].Time, st.Oldest)
		merged = merged || count(t, s, "SELECT seq FROM sqlite_sequence WHERE name = 'blocks'") > int(st.Blocks)
		require.NoError(t, s.Close())
	}
	require.Positive(t, matched, "no filter matched anything: the test shows nothing")
	require.Positive(t, counted, "no chart counted anything: the test shows nothing")
	require.True(t, merged, "nothing was ever merged: the test shows nothing")
}

// comparePages follows some pages of a random query in both stores.
func comparePages(t *testing.T, src *source, model, s usagelog.Store) (records int) {
	t.Helper()
	q := usagelog.Query{Filter: src.filter(), Limit: 1 + src.rnd.IntN(50)}
	if len(src.past) > 0 && src.rnd.IntN(3) == 0 { // from the middle, or from nowhere
		p := src.past[src.rnd.IntN(len(src.past))].Position()
		if src.rnd.IntN(2) == 0 {
			p.Time = p.Time.Add(1)
		}
		q.Cursor = p.Cursor()
	}
	for range 6 {
		want, err := model.Query(t.Context(), q)
		require.NoError(t, err)
		got, err := s.Query(t.Context(), q)
		require.NoError(t, err)
		require.Equal(t, want.Next, got.Next, "%+v", q)
		require.Equal(t, len(want.Records), len(got.Records), "%+v", q)
		for i := range want.Records {
			if want.Records[i] != got.Records[i] {
				t.Fatalf("%+v: record %d is\n%#v, want\n%#v", q, i, got.Records[i], want.Records[i])
			}
		}
		records += len(got.Records)
		if want.Next == "" {
			break
		}
		q.Cursor = want.Next
	}
	return records
}

func compareSeen(t *testing.T, src *source, model usagelog.Store, s *Store) {
	t.Helper()
	f := usagelog.Filter{KeyID: sourceKeys[1+src.rnd.IntN(len(sourceKeys)-1)]}
	f.From = src.filter().From
	uses := make(map[netip.Addr]manage.SeenAddress)
	blocked := int64(0)
	for _, r := range all(t, model, f) {
		u := uses[r.ClientAddr]
		u.Addr = r.ClientAddr
		if r.Verdict != ipallow.Denied || r.Status != 401 && r.Status != 403 && r.Status != 503 {
			if u.Served += r.Requests(); u.Last.IsZero() {
				u.Last = r.Time
			}
		}
		if r.Verdict == ipallow.Denied && r.Status == 403 {
			u.Blocked += r.Requests()
			blocked += r.Requests()
		}
		if u.Addr.IsValid() && u.Served+u.Blocked > 0 {
			uses[u.Addr] = u
		}
	}
	got, err := s.Seen(t.Context(), f.KeyID, f.From)
	require.NoError(t, err)
	require.ElementsMatch(t, slices.Collect(maps.Values(uses)), got, "%+v", f)

	counted, err := s.Blocked(t.Context(), []string{"none", f.KeyID}, f.From)
	require.NoError(t, err)
	require.Equal(t, blocked, counted[f.KeyID], "%+v", f)
	require.Zero(t, counted["none"])
}

func compareSummary(t *testing.T, src *source, model usagelog.Store, s *Store) (counted int64) {
	t.Helper()
	f := src.filter()
	if src.rnd.IntN(4) == 0 { // what is asked for most
		f = usagelog.Filter{}
		if src.rnd.IntN(2) == 0 {
			f.KeyID = sourceKeys[1]
		}
	}
	f.From = src.now.Add(-time.Duration(src.rnd.Int64N(int64(200 * time.Hour))))
	f.To = f.From.Add(1 + time.Duration(src.rnd.Int64N(int64(200*time.Hour))))
	width := 1 + f.To.Sub(f.From)/time.Duration(1+src.rnd.IntN(100))
	n := 0
	for at := f.From; at.Before(f.To); at = at.Add(width) {
		n++
	}
	want := make([]Bucket, n)
	for i := range want {
		want[i].Start = f.From.Add(time.Duration(i) * width)
	}
	for _, r := range all(t, model, f) {
		b := &want[r.Time.Sub(f.From)/width]
		switch {
		case r.Status == 403 && r.Verdict == ipallow.Denied:
			b.Blocked += r.Requests()
		case r.Status == 401 || r.Status == 403 || r.Status == 503 && r.Verdict == ipallow.Denied:
			b.Other += r.Requests()
		default:
			b.Served += r.Requests()
		}
	}
	got, err := s.Summary(t.Context(), f, width)
	require.NoError(t, err)
	require.Equal(t, want, got, "%+v by %v", f, width)
	for _, b := range got {
		counted += b.Served + b.Blocked + b.Other
	}
	return counted
}
