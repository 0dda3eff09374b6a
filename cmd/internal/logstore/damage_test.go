package logstore

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow/cmd/internal/logtraffic"
	"github.com/ipallow/ipallow/usagelog"
)

// damage changes the data of a block behind the store's back.
func damage(t *testing.T, path string, id int, change func(data []byte) []byte) {
	t.Helper()
	db := raw(t, path)
	var data []byte
	require.NoError(t, db.QueryRowContext(t.Context(), "SELECT data FROM frames WHERE id = ?", id).Scan(&data))
	execute(t, db, "UPDATE frames SET data = ? WHERE id = ?", change(data), id)
}

// subset fails unless got is part of want, in the same order.
func subset(t *testing.T, want, got []usagelog.Record) {
	t.Helper()
	i := 0
	for _, r := range got {
		for i < len(want) && want[i] != r {
			i++
		}
		require.Less(t, i, len(want), "a record that was not appended, or out of order: %+v", r)
		i++
	}
}

func TestDamage(t *testing.T) {
	flip := func(at int) func([]byte) []byte {
		return func(b []byte) []byte { b[at] ^= 0x10; return b }
	}
	for _, c := range []struct {
		name   string
		change func([]byte) []byte
		most   int // records that may be lost of 2500, which are in 6 pieces
	}{
		{"a bit in a piece", flip(1000), 500},
		{"the form of a piece", flip(0), 500},
		{"the length of the records of a piece", flip(5), 500},
		{"the length of a piece", flip(2), 2500},
		{"cut", func(b []byte) []byte { return b[:len(b)/2] }, 1600},
		{"4 KiB zeroed", func(b []byte) []byte { clear(b[8192:12288]); return b }, 1000},
		{"empty", func([]byte) []byte { return []byte{} }, 2500},
	} {
		t.Run(c.name, func(t *testing.T) {
			var log bytes.Buffer
			path := filepath.Join(t.TempDir(), "usage.db")
			s := mustOpen(t, Options{Path: path, Logger: slog.New(slog.NewJSONHandler(&log, nil))})
			g := logtraffic.NewGenerator(20)
			for range 3 {
				require.NoError(t, s.Append(t.Context(), g.Batch(2500)))
			}
			want := all(t, s, usagelog.Filter{})
			require.Len(t, want, 7500)
			require.Empty(t, log.String())
			damage(t, path, 2, c.change)

			got := all(t, s, usagelog.Filter{})
			subset(t, want, got)
			lost := len(want) - len(got)
			require.Positive(t, lost)
			require.LessOrEqual(t, lost, c.most)
			st := s.Stats()
			require.EqualValues(t, 1, st.DamagedBlocks)
			require.EqualValues(t, lost, st.DamagedRecords)
			var line map[string]any
			require.NoError(t, json.Unmarshal(log.Bytes(), &line), "one line: %s", log.String())
			require.EqualValues(t, 2, line["block"])
			require.EqualValues(t, lost, line["lost"])

			require.Len(t, all(t, s, usagelog.Filter{}), len(got), "a second time")
			require.EqualValues(t, lost, s.Stats().DamagedRecords, "counted once")
			require.Equal(t, 1, bytes.Count(log.Bytes(), []byte("\n")), "logged once")
		})
	}
}

// newest returns the records in the order of a query.
func newest(recs []usagelog.Record) []usagelog.Record {
	recs = slices.Clone(recs)
	slices.SortFunc(recs, func(a, b usagelog.Record) int { return b.Position().Compare(a.Position()) })
	return recs
}

// A plain piece loses one record for one damaged byte.
func TestDamageOfAPlainPiece(t *testing.T) {
	entries := someEntries(100)
	var data []byte
	for _, e := range entries {
		data = append(data, e.rec...)
	}
	head := []byte{formPlain, 0, 0, 0, 0, 0, 0, 0, 0}
	head[1], head[2] = byte(len(data)), byte(len(data)>>8)
	head[5], head[6] = head[1], head[2]
	data = append(head, data...)
	require.Equal(t, 100, readData(data, 100).len())
	rnd := rand.New(rand.NewPCG(1, 1))
	for range 500 {
		b := bytes.Clone(data)
		b[pieceHead+rnd.IntN(len(b)-pieceHead)] ^= 1 << rnd.IntN(8)
		got := readData(b, 100)
		require.Equal(t, 99, got.len())
		for i, j := 0, 0; i < got.len(); i, j = i+1, j+1 {
			if !bytes.Equal(got.at(i), entries[j].rec) {
				j++
			}
			require.Equal(t, []byte(entries[j].rec), []byte(got.at(i)))
		}
	}
}

// Merging must not make damage final: the block stays as it is.
func TestDamagedBlocksAreNotMerged(t *testing.T) {
	path := filepath.Join(t.TempDir(), "usage.db")
	s := mustOpen(t, Options{Path: path})
	g := logtraffic.NewGenerator(20)
	var recs []usagelog.Record
	for range 7 {
		b := g.Batch(100)
		recs = append(recs, b...)
		require.NoError(t, s.Append(t.Context(), b))
	}
	var id, records int
	db := raw(t, path)
	require.NoError(t, db.QueryRowContext(t.Context(), "SELECT id, records FROM blocks ORDER BY id DESC LIMIT 1").Scan(&id, &records))
	var before []byte
	damage(t, path, id, func(b []byte) []byte { b[100] ^= 1; before = bytes.Clone(b); return b })
	for range 40 {
		b := g.Batch(100)
		recs = append(recs, b...)
		require.NoError(t, s.Append(t.Context(), b))
	}
	var class int
	require.NoError(t, db.QueryRowContext(t.Context(), "SELECT class FROM blocks WHERE id = ?", id).Scan(&class))
	require.Equal(t, -1, class)
	var after []byte
	require.NoError(t, db.QueryRowContext(t.Context(), "SELECT data FROM frames WHERE id = ?", id).Scan(&after))
	require.Equal(t, before, after)
	got := all(t, s, usagelog.Filter{})
	subset(t, newest(recs), got)
	lost := len(recs) - len(got)
	require.Positive(t, lost)
	require.LessOrEqual(t, lost, records)
	require.EqualValues(t, lost, s.Stats().DamagedRecords)
	require.EqualValues(t, len(recs), s.Stats().Records)
}

// A block whose row of frames is gone, and tallies that lie.
func TestMissingRows(t *testing.T) {
	path := filepath.Join(t.TempDir(), "usage.db")
	s := mustOpen(t, Options{Path: path})
	g := logtraffic.NewGenerator(3)
	for range 2 {
		require.NoError(t, s.Append(t.Context(), g.Batch(2500)))
	}
	seen, err := s.Seen(t.Context(), g.Keys[0], begin)
	require.NoError(t, err)
	db := raw(t, path)
	execute(t, db, "UPDATE columns SET data = substr(data, 1, 20) || x'ff' || substr(data, 22)")
	again, err := s.Seen(t.Context(), g.Keys[0], begin)
	require.NoError(t, err)
	require.ElementsMatch(t, seen, again, "damaged tallies are not used")
	execute(t, db, "DELETE FROM columns")
	again, err = s.Seen(t.Context(), g.Keys[0], begin)
	require.NoError(t, err)
	require.ElementsMatch(t, seen, again)
	require.Zero(t, s.Stats().DamagedRecords)

	execute(t, db, "UPDATE blocks SET terms = x'' WHERE id = 2")
	require.Len(t, all(t, s, usagelog.Filter{Status: 403}), len(all(t, s, usagelog.Filter{StatusClass: 4}))-len(all(t, s, usagelog.Filter{Status: 401}))-len(all(t, s, usagelog.Filter{Status: 404})))

	execute(t, db, "DELETE FROM frames WHERE id = 1")
	require.Len(t, all(t, s, usagelog.Filter{}), 2500)
	require.EqualValues(t, 2500, s.Stats().DamagedRecords)
	_, err = s.Seen(t.Context(), g.Keys[0], begin)
	require.NoError(t, err)
}

// What SQLite itself finds damaged is either of one block, or an error: no
// query may show less than there is without a word.
func TestDamagedFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "usage.db")
	s, err := Open(t.Context(), Options{Path: path})
	require.NoError(t, err)
	g := logtraffic.NewGenerator(20)
	for range 2 {
		require.NoError(t, s.Append(t.Context(), g.Batch(1200)))
	}
	want := all(t, s, usagelog.Filter{})
	require.NoError(t, s.Close())
	file, err := os.ReadFile(path)
	require.NoError(t, err)
	quiet := slog.New(slog.DiscardHandler)
	const page = 4096
	refused, failed, shown, whole := 0, 0, 0, 0
	for at := 0; at < len(file); at += page {
		name := filepath.Join(dir, "damaged.db")
		b := bytes.Clone(file)
		clear(b[at : at+page])
		require.NoError(t, os.WriteFile(name, b, 0o600))
		s, err := Open(t.Context(), Options{Path: name, Logger: quiet})
		if err != nil {
			refused++
			continue
		}
		var got []usagelog.Record
		for r, err2 := range s.Stream(t.Context(), usagelog.Filter{}) {
			if err = err2; err == nil {
				got = append(got, r)
			}
		}
		subset(t, want, got)
		switch st := s.Stats(); {
		case err != nil:
			failed++
		case len(got) == len(want):
			whole++
			require.Zero(t, st.DamagedRecords)
		default:
			shown++
			require.EqualValues(t, len(want)-len(got), st.DamagedRecords, "page %d", at/page)
		}
		require.NoError(t, s.Close())
	}
	t.Logf("of %d pages zeroed: %d refused by Open, %d an error, %d shown in part, %d not noticed", len(file)/page, refused, failed, shown, whole)
	require.Positive(t, refused)
	require.Positive(t, shown)
}
