package logstore

import (
	"bytes"
	"math"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow"
	"github.com/ipallow/ipallow/cmd/internal/binrec"
	"github.com/ipallow/ipallow/cmd/internal/logtraffic"
	"github.com/ipallow/ipallow/usagelog"
)

// tallied returns the tallies of the entries as a block keeps them.
func tallied(entries []entry) []byte {
	var terms termSet
	var set tallySet
	for range 2 { // a second time with the same memory
		terms.reset(len(entries))
		set.reset(len(entries))
		for _, e := range entries {
			if key := terms.addRecord(e.rec); key >= 0 {
				set.add(key, e.rec)
			}
		}
	}
	return set.appendTo([]byte("before"), terms.list, entries[0].ns)[len("before"):]
}

func TestTallies(t *testing.T) {
	var entries []entry
	add := func(key, addr string, status int, v ipallow.Verdict) {
		r := usagelog.Record{ID: usagelog.RecordID{1}, Time: begin, KeyID: key, Status: status, Verdict: v, Method: key}
		if addr != "" {
			r.ClientAddr = netip.MustParseAddr(addr)
		}
		entries = append(entries, entry{begin.UnixNano(), binrec.Read(binrec.Append(nil, &r))})
	}
	now := begin.UnixNano()
	for range 300 {
		add("busy", "203.0.113.5", 200, ipallow.Allowed)
	}
	add("busy", "203.0.113.6", 403, ipallow.Denied)
	add("busy", "203.0.113.6", 200, ipallow.Denied)
	add("busy", "203.0.113.6", 403, ipallow.Allowed)
	add("busy", "203.0.113.6", 401, ipallow.Denied)
	add("busy", "2001:db8::1", 403, ipallow.Denied)
	add("busy", "", 200, ipallow.Allowed)
	add("once", "0.0.0.0", 0, ipallow.Unrestricted)
	add("", "203.0.113.7", 401, ipallow.Denied)

	b := tallied(entries)
	found, ok := findIn(b, keyTerm("busy"), now)
	require.True(t, ok)
	got := make(map[string]tally)
	for _, v := range found {
		got[v.addr.String()] = v
	}
	require.Len(t, got, 4)
	require.Len(t, found, 4)
	for addr, want := range map[string]tally{
		"203.0.113.5": {last: now, seen: 300, counts: counts{served: 300}},
		"203.0.113.6": {last: now, seen: 2, counts: counts{1, 1, 2}},
		"2001:db8::1": {last: now, seen: 0, counts: counts{0, 1, 0}},
		"invalid IP":  {last: now, seen: 1, counts: counts{served: 1}},
	} {
		want.addr, _ = netip.ParseAddr(addr)
		require.Equal(t, want, got[addr], addr)
	}
	found, ok = findIn(b, keyTerm("once"), now)
	require.True(t, ok)
	require.Equal(t, []tally{{addr: netip.IPv4Unspecified(), last: now, seen: 1, counts: counts{served: 1}}}, found)
	for _, key := range []string{"", "none"} {
		found, ok = findIn(b, keyTerm(key), now)
		require.True(t, ok)
		require.Empty(t, found)
	}

	for n := range b {
		_, ok := findIn(b[:n], keyTerm("busy"), now)
		require.False(t, ok, "cut to %d bytes", n)
		flipped := bytes.Clone(b)
		flipped[n] ^= 4
		_, ok = findIn(flipped, keyTerm("busy"), now)
		require.False(t, ok, "byte %d damaged", n)
	}
}

// The age of the last request may be anything, and all keys and addresses may
// be different.
func TestTalliesOfManyKeys(t *testing.T) {
	var entries []entry
	for i := range 3000 {
		r := usagelog.Record{
			ID: usagelog.RecordID{1}, KeyID: logtraffic.NewGenerator(0).Hex(2 + i%7), Status: 200,
			ClientAddr: netip.AddrFrom4([4]byte{203, 0, byte(i >> 8), byte(i)}),
		}
		if i == 0 {
			r.Time = maxTime
		}
		rec := binrec.Read(binrec.Append(nil, &r))
		entries = append(entries, entry{rec.UnixNano(), rec})
	}
	b := tallied(entries)
	seen := make(map[netip.Addr]bool)
	for n := range 7 {
		found, ok := findIn(b, keyTerm(logtraffic.NewGenerator(0).Hex(2+n)), math.MaxInt64)
		require.True(t, ok)
		for _, v := range found {
			require.EqualValues(t, 1, v.seen)
			if v.addr == netip.MustParseAddr("203.0.0.0") {
				require.EqualValues(t, math.MaxInt64, v.last)
			} else {
				require.Zero(t, v.last)
			}
			require.False(t, seen[v.addr])
			seen[v.addr] = true
		}
	}
	require.Len(t, seen, 3000)
}

// findIn returns the tallies of a key.
func findIn(b []byte, key term, newest int64) (found []tally, ok bool) {
	ok = eachTallied(b, func(k term, addrs []byte) bool {
		if k == key {
			found = readTallies(addrs, newest)
		}
		return true
	})
	return found, ok
}
