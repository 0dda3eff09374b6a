package logstore

import (
	"bytes"
	"encoding/binary"
	"math"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow/cmd/internal/binrec"
	"github.com/ipallow/ipallow/cmd/internal/logtraffic"
	"github.com/ipallow/ipallow/usagelog"
)

// someEntries returns n entries in order.
func someEntries(n int) []entry {
	var entries []entry
	for _, r := range logtraffic.NewGenerator(10).Batch(n) {
		entries = append(entries, entry{r.Time.UnixNano(), binrec.Read(binrec.Append(nil, &r))})
	}
	sortEntries(entries)
	return entries
}

// next returns the ID that follows.
func next(id usagelog.RecordID) usagelog.RecordID {
	binary.BigEndian.PutUint64(id[8:], binary.BigEndian.Uint64(id[8:])+1)
	return id
}

func TestBlockRoundTrip(t *testing.T) {
	var data, raw []byte
	for _, n := range []int{1, 2, 400, 8191} {
		entries := someEntries(n)
		data, raw = appendData(data[:0], raw, entries)
		b := readData(data, n)
		require.Equal(t, n, b.len())
		for i := range entries {
			require.Equal(t, []byte(entries[i].rec), []byte(b.at(i)))
			id := entries[i].rec.ID()
			require.Equal(t, i+1, b.behind(bound{true, entries[i].ns, id}))
			require.Equal(t, i, b.behind(bound{true, entries[i].ns, next(id)}))
		}
		require.Equal(t, 0, b.behind(bound{true, math.MaxInt64, usagelog.RecordID{}}))
		require.Equal(t, n, b.behind(bound{true, 0, usagelog.RecordID{}}))
		if n >= 400 {
			require.Less(t, len(data), len(b.raw)*2/3, "compressed")
		}
	}
	// A number of records that damage has made enormous reserves no memory.
	require.Equal(t, 8191, readData(data, math.MaxInt32).len())
}

// What does not become smaller is kept as it is.
func TestPlainPiece(t *testing.T) {
	rec := usagelog.Record{ID: usagelog.RecordID{1}, RequestID: logtraffic.NewGenerator(0).Hex(64)}
	rec.ID = usagelog.RecordID([]byte("0123456789abcdef"))
	b := binrec.Read(binrec.Append(nil, &rec))
	data, _ := appendData(nil, nil, []entry{{0, b}})
	got := readData(data, 1)
	require.Equal(t, []byte(b), []byte(got.at(0)))
	require.Contains(t, []byte{formPlain, formS2}, data[0])
	require.LessOrEqual(t, len(data), pieceHead+len(b))
}

func TestSortEntries(t *testing.T) {
	for name, shuffle := range map[string]func(recs []entry){
		"in order":   func([]entry) {},
		"reversed":   func(e []entry) { slices.Reverse(e) },
		"two blocks": func(e []entry) { slices.Reverse(e); slices.Reverse(e[:700]); slices.Reverse(e[700:]) },
		"strided": func(e []entry) {
			for i := range e {
				j := i * 7919 % len(e)
				e[i], e[j] = e[j], e[i]
			}
		},
	} {
		entries := someEntries(1500)
		for i := range 20 {
			entries[i].ns = entries[0].ns // ties, which the IDs decide
		}
		slices.SortFunc(entries, newestFirst)
		want := slices.Clone(entries)
		shuffle(entries)
		sortEntries(entries)
		require.Equal(t, want, entries, name)
	}
}

func TestLaneOf(t *testing.T) {
	for late, want := range map[time.Duration]int{
		0: 0, time.Minute - 1: 0, time.Minute: 1, 16*time.Minute - 1: 1, 16 * time.Minute: 2, 256 * time.Minute: 3, 4096 * time.Minute: 4,
		math.MaxInt64: 4,
	} {
		require.Equal(t, want, laneOf(int64(late)), "%v", late)
	}
}

// A Bloom filter never denies what is in it, and rarely affirms what is not.
func TestBloom(t *testing.T) {
	for _, n := range []int{1, 2, 10, 1000, 8192} {
		var set termSet
		set.reset(n)
		for i := range n {
			id := strconv.AppendInt([]byte("key_"), int64(i), 10)
			at := set.add(keyTerm(id))
			require.Equal(t, i, at)
			require.Equal(t, at, set.add(keyTerm(id)))
		}
		require.Len(t, set.list, n)
		var unlucky [10_000]int
		for seed := range int64(3) {
			bloom := appendBloom([]byte("before"), set.list, seed)[len("before"):]
			require.LessOrEqual(t, len(bloom), 8+10*n/8)
			for _, one := range set.list {
				require.True(t, mayHave(bloom, []term{one}, seed))
			}
			require.True(t, mayHave(bloom, set.list, seed))
			require.True(t, mayHave(bloom, nil, seed))
			for i := range unlucky {
				if mayHave(bloom, []term{keyTerm(strconv.AppendInt([]byte("other_"), int64(i), 10))}, seed) {
					unlucky[i]++
				}
			}
		}
		var times [4]int // how many were unlucky so often
		for _, n := range unlucky {
			times[n]++
		}
		require.Less(t, times[1], 600, "of 10,000, in one filter of %d", n)
		require.Less(t, times[2], 20, "of 10,000, in two filters of the same %d", n)
		require.Less(t, times[3], 5, "of 10,000, in three filters of the same %d", n)
	}
	require.True(t, mayHave(nil, []term{1}, 0), "one that is damaged")
}

// FuzzReadData reads what no store has written: it must end, not crash, and
// show sound records only.
func FuzzReadData(f *testing.F) {
	data, _ := appendData(nil, nil, someEntries(3))
	f.Add(data, 3)                                           // as it is written
	f.Add(append(bytes.Clone(data), data...), 6)             // two pieces
	f.Add(append([]byte{9}, data[1:]...), 3)                 // an unknown form
	f.Add(binary.LittleEndian.AppendUint32([]byte{0}, 0), 1) // a head cut short
	plain := []byte{formPlain}
	rec := someEntries(1)[0].rec
	plain = binary.LittleEndian.AppendUint32(plain, uint32(len(rec)))
	plain = binary.LittleEndian.AppendUint32(plain, uint32(len(rec)))
	f.Add(append(plain, rec...), 1)
	f.Fuzz(func(t *testing.T, data []byte, records int) {
		b := readData(data, max(records, 0))
		for i := range b.len() {
			require.NotNil(t, binrec.Read(b.at(i)))
		}
	})
}
