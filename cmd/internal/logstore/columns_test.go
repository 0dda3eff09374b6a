package logstore

import (
	"math/rand/v2"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow/cmd/internal/logtraffic"
	"github.com/ipallow/ipallow/usagelog"
)

// Columns that are damaged or gone are not believed: the answers are those of the
// records. Each bit of each column is flipped in its turn.
func TestDamagedColumns(t *testing.T) {
	path := filepath.Join(t.TempDir(), "usage.db")
	s := mustOpen(t, Options{Path: path})
	tr := logtraffic.New(1)
	tr.Step = 10 * time.Millisecond
	model := usagelog.NewMemoryStore(0)
	recs := tr.Batch(blockRecords + 200)
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
				if readsColumn(f, column) { // a page reads no other
					same(t, model, s, f)
				}
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

func readsColumn(f usagelog.Filter, column int) bool {
	p := newPlan(&f)
	return column == requestColumn && p.request != 0 ||
		slices.ContainsFunc(p.columns, func(t *columnTest) bool { return t.column == column })
}

// A client chooses its method: one that sends thousands of them has a block
// without counts by kind, which is read by its column.
func TestManyKinds(t *testing.T) {
	s := mustOpen(t, Options{})
	model := usagelog.NewMemoryStore(0)
	recs := logtraffic.NewGenerator(3).Batch(blockRecords)
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
	tr := logtraffic.New(1)
	tr.Step = time.Millisecond
	require.NoError(t, s.Append(t.Context(), tr.Batch(blockRecords+200)))
	require.Less(t, count(t, s, "SELECT max(length(kinds)) FROM blocks"), 2500)
}

// The column that leaves nothing of the blocks is read first, whatever the order of the
// filter's terms.
func TestOrderOfColumns(t *testing.T) {
	t.Parallel()
	f := usagelog.Filter{ClientNet: netip.MustParsePrefix("203.0.0.0/8"), PathPrefix: "/v9/"}
	s := mustOpen(t, Options{})
	tr := logtraffic.New(1)
	tr.Step = time.Millisecond
	const blocks = 3 * reorderEvery
	for range blocks {
		require.NoError(t, s.Append(t.Context(), tr.Batch(blockRecords)))
	}
	p := newPlan(&f)
	require.Equal(t, addrColumn, p.columns[0].column)
	c, err := s.candidates(t.Context(), s.read, 0, bound{}, nil, p)
	require.NoError(t, err)
	defer c.close()
	for ok := true; ok; {
		ok, err = c.next(t.Context()) // blocks that are merged are left
		require.NoError(t, err)
		require.True(t, !ok || c.class != classes)
	}
	require.Equal(t, pathColumn, p.columns[0].column, "no address is outside, no path is inside")
	require.Less(t, p.columns[1].tried, 2*reorderEvery)
	require.GreaterOrEqual(t, p.columns[0].ended, blocks-2*reorderEvery)
}

// TestPrefixed compares the codes of paths with a prefix with what a look at each says.
func TestPrefixed(t *testing.T) {
	rnd := rand.New(rand.NewPCG(2, 2))
	word := func(most int) string {
		b := make([]byte, rnd.IntN(most+1))
		for i := range b {
			b[i] = "/ab"[rnd.IntN(3)]
		}
		return string(b)
	}
	long := "/" + strings.Repeat("x", 200) // lengths of two bytes
	inside, outside := 0, 0
	for i := range 2000 {
		var values []string
		prefix := word(4)
		for range 1 + rnd.IntN(40) {
			values = append(values, word(6))
		}
		if i%10 == 0 {
			values = append(values, long, long+"y", long+"yz", long+"z")
			prefix = long + word(1)
		}
		var d dictionary
		d.reset(len(values))
		for _, v := range values {
			d.add([]byte(v))
		}
		d.sort()
		var c coded
		require.True(t, c.read(d.appendTo(nil, nil), len(values)))
		lo, hi := c.prefixed([]byte(prefix))
		for i, v := range values {
			code := c.code(i)
			has := strings.HasPrefix(v, prefix)
			require.Equal(t, has, code >= lo && code < hi, "%q of %q with %q", v, values, prefix)
			if has {
				inside++
			} else {
				outside++
			}
		}
	}
	require.Greater(t, inside, 1000)
	require.Greater(t, outside, 1000)
}

// TestWithin compares networks of every length with netip's own.
func TestWithin(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 1))
	var d dictionary
	var addrs []netip.Addr
	for range 60 {
		addrs = append(addrs, netip.AddrFrom4([4]byte{203, byte(rnd.IntN(2)), byte(rnd.IntN(3)), byte(rnd.IntN(256))}),
			netip.AddrFrom16([16]byte{0x20, 1, 0x0d, 0xb8, byte(rnd.IntN(2)), 15: byte(rnd.IntN(256))}), netip.Addr{})
	}
	d.reset(len(addrs))
	for _, a := range addrs {
		d.add(appendAddr(nil, a))
	}
	var c coded
	require.True(t, c.read(d.appendTo(nil, nil), len(addrs)))
	inside, outside := 0, 0
	for bits := range 129 {
		for _, a := range addrs[:9] {
			network, err := a.Prefix(bits)
			if err != nil || !network.IsValid() {
				continue
			}
			match, n := c.within(nil, network)
			count := 0
			for i, a := range addrs {
				code := c.code(i)
				require.Equal(t, network.Contains(a), match[code] == 1, "%v in %v", a, network)
			}
			for _, m := range match {
				count += int(m)
			}
			require.Equal(t, count, n)
			inside += n
			outside += len(match) - n
		}
	}
	require.Positive(t, inside)
	require.Positive(t, outside)
}
