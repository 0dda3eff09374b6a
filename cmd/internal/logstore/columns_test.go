package logstore

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow/usagelog"
)

// Columns that are damaged or gone are not believed: the answers are those of the
// records. Each bit of each column is flipped in its turn.
func TestDamagedColumns(t *testing.T) {
	path := filepath.Join(t.TempDir(), "usage.db")
	s := mustOpen(t, Options{Path: path})
	tr := newTraffic(1)
	tr.step = 10 * time.Millisecond
	model := usagelog.NewMemoryStore(0)
	recs := tr.batch(blockRecords + 200)
	recs[7].More = 41
	require.NoError(t, s.Append(t.Context(), recs))
	require.NoError(t, model.Append(t.Context(), recs))
	require.Positive(t, count(t, s, "SELECT count(*) FROM columns"))
	db := raw(t, path)
	filters := trafficFilters(t, s)
	chart := func(f usagelog.Filter) []Bucket {
		f.From, f.To = begin.Add(-3*time.Hour), begin.Add(time.Minute)
		got, err := s.Summary(t.Context(), f, 7*time.Second)
		require.NoError(t, err)
		return got
	}
	sound := make(map[string][]Bucket)
	for name, f := range filters {
		sound[name] = chart(f)
		same(t, model, s, f)
	}
	for column := kindColumn; column <= timeColumn; column++ {
		where := "WHERE id % 8 = ?"
		execute(t, db, "CREATE TABLE kept AS SELECT * FROM columns "+where, column)
		for _, change := range []string{
			"UPDATE columns SET data = substr(data, 1, 300) || x'07' || substr(data, 302) ",
			"UPDATE columns SET data = substr(data, 1, 3) ",
			"UPDATE columns SET data = x'' ",
			"DELETE FROM columns ",
		} {
			execute(t, db, change+where, column)
			for name, f := range filters {
				require.Equal(t, sound[name], chart(f), "%s: %d, %s", change, column, name)
				same(t, model, s, f)
			}
			execute(t, db, "INSERT OR REPLACE INTO columns SELECT * FROM kept")
		}
		execute(t, db, "DROP TABLE kept")
	}
	for _, change := range []string{"x''", "NULL", "substr(kinds, 1, 9) || x'07'"} {
		execute(t, db, "UPDATE blocks SET kinds = "+change)
		for name, f := range filters {
			require.Equal(t, sound[name], chart(f), "kinds %s, %s", change, name)
			same(t, model, s, f)
		}
	}
}

// A client chooses its method: one that sends thousands of them has a block
// without counts by kind, which is read by its column.
func TestManyKinds(t *testing.T) {
	s := mustOpen(t, Options{})
	model := usagelog.NewMemoryStore(0)
	recs := newGenerator(3).batch(blockRecords)
	for i := range recs {
		recs[i].Method = "M" + string(rune('A'+i%26)) + string(rune('A'+i/26%26))
	}
	require.NoError(t, s.Append(t.Context(), recs))
	require.NoError(t, model.Append(t.Context(), recs))
	require.Equal(t, 1, count(t, s, "SELECT count(*) FROM blocks WHERE kinds IS NULL"))
	for _, f := range []usagelog.Filter{{Method: "MAA"}, {Method: "MQZ", StatusClass: 2}, {Status: 404}, {Method: "none"}} {
		want := same(t, model, s, f)
		f.From, f.To = begin.Add(-time.Hour), begin.Add(time.Hour)
		b, err := s.Summary(t.Context(), f, 2*time.Hour)
		require.NoError(t, err)
		require.EqualValues(t, want, b[0].Served+b[0].Blocked+b[0].Other)
	}
}

// Kinds stay a short row: that is what a chart reads of each block.
func TestKindsAreFew(t *testing.T) {
	s := mustOpen(t, Options{})
	tr := newTraffic(1)
	tr.step = time.Millisecond
	require.NoError(t, s.Append(t.Context(), tr.batch(blockRecords+200)))
	require.Less(t, count(t, s, "SELECT max(length(kinds)) FROM blocks"), 2500)
}
