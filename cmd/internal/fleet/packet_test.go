package fleet

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/s2"
	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow"
	"github.com/ipallow/ipallow/cmd/internal/binrec"
	"github.com/ipallow/ipallow/usagelog"
)

// numbered returns n records of one Writer, beginning with a number.
func numbered(epoch uint64, first, n int) []usagelog.Record {
	list := make([]usagelog.Record, n)
	for i := range list {
		r := &list[i]
		binary.BigEndian.PutUint64(r.ID[:8], epoch)
		binary.BigEndian.PutUint64(r.ID[8:], uint64(first+i))
		*r = usagelog.Record{
			ID: r.ID, Time: time.Unix(1_700_000_000, int64(first+i)), RequestID: fmt.Sprintf("%x-%d", epoch, first+i), KeyID: testID,
			Method: "GET", Path: "/v1/items", Status: 200, ClientAddr: netip.MustParseAddr("203.0.113.7"), Verdict: ipallow.Allowed,
		}.Normalize()
	}
	return list
}

func TestPackets(t *testing.T) {
	long := numbered(7, 0, 3000)
	dense := numbered(8, 0, 3000) // does not compress
	for i := range long {
		long[i].Path = "/" + strings.Repeat("x", usagelog.MaxPath-1)
		dense[i].Path = "/" + rand.Text() + rand.Text() + rand.Text() + rand.Text()
		dense[i].RequestID = rand.Text()
	}
	for _, records := range [][]usagelog.Record{numbered(1, 0, 1), numbered(2, 5, 4096), long, dense} {
		list := packets(records)
		require.Equal(t, list, packets(records), "the same records, other packets")
		var got []usagelog.Record
		for _, p := range list {
			require.Less(t, len(p), MaxMessage-4096, "with its header it may not fit")
			var err error
			got, err = unpack(got, p)
			require.NoError(t, err)
		}
		require.Equal(t, records, got)
	}
	require.Greater(t, len(packets(long)), 5)
	require.Empty(t, packets(nil))

	entries := numbered(4, 0, 100)
	for i := range entries {
		entries[i].Entry, entries[i].Label, entries[i].List = netip.MustParsePrefix("203.0.113.0/24"), "office", "cloud"
	}
	got, err := unpack(nil, packets(entries)[0])
	require.NoError(t, err)
	require.Equal(t, entries, got)
}

// A gateway of before the records had entries is read, as its stream may have its packets.
func TestFirstPackets(t *testing.T) {
	records := numbered(1, 0, 300)
	data := packets(records)[0]
	data[0] = 1
	got, err := unpack(nil, data)
	require.NoError(t, err)
	require.Equal(t, records, got)
}

func TestPacketsThatAreNone(t *testing.T) {
	good := packets(numbered(1, 0, 3))[0]
	raw := binrec.Append(nil, &numbered(1, 0, 1)[0])
	zero := numbered(0, 0, 1)[0]
	block := func(raw []byte) []byte { return append([]byte{packetVersion}, s2.Encode(nil, raw)...) }
	for name, bad := range map[string][]byte{
		"empty":      nil,
		"version 0":  append([]byte{0}, good[1:]...),
		"no version": append([]byte{lastVersion + 1}, good[1:]...),
		"newer":      append([]byte{packetVersion + 1}, good[1:]...),
		"cut off":    good[:len(good)-5],
		"no block":   {packetVersion, 1, 2, 3},
		"no record":  block([]byte("this is no record at all, and long enough to be one, or so it seems to be, really")),
		"behind it":  block(append(append([]byte(nil), raw...), 1)),
		"no ID":      block(binrec.Append(nil, &zero)),
		"nothing":    block(nil),
		"very large": append([]byte{packetVersion}, s2.Encode(nil, make([]byte, longestPacket+1))...),
	} {
		had := numbered(9, 0, 2)
		got, err := unpack(had, bad)
		require.ErrorIs(t, err, ErrPacket, name)
		require.Equal(t, had, got, name)
	}
}

// FuzzPacket: nothing that a node sends does harm, and what is read is whole.
func FuzzPacket(f *testing.F) {
	f.Add(packets(numbered(1, 0, 3))[0])           // a usual one
	f.Add([]byte{packetVersion, 0xff, 0xff, 0xff}) // a length that is cut off
	f.Add(append([]byte{packetVersion}, s2.Encode(nil, make([]byte, 100))...))
	f.Fuzz(func(t *testing.T, data []byte) {
		records, err := unpack(nil, data)
		if err != nil {
			require.ErrorIs(t, err, ErrPacket)
			require.Empty(t, records)
			return
		}
		require.NotEmpty(t, records)
		var again []usagelog.Record
		for _, p := range packets(records) {
			again, err = unpack(again, p)
			require.NoError(t, err)
		}
		require.Equal(t, records, again)
	})
}
