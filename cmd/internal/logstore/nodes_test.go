package logstore

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow/usagelog"
)

// sent returns n records of a node, each with its path.
func sent(node string, epoch uint64, first, n int, at time.Time) Part {
	p := Part{Node: node, Records: make([]usagelog.Record, n)}
	for i := range p.Records {
		r := numbered(epoch, uint64(first+i))
		r.Time, r.KeyID, r.RequestID = at.Add(time.Duration(i)), cmp.Or(node, "own"), fmt.Sprintf("%x", rand.Uint64())
		r.Path = fmt.Sprintf("/%x%x%x%x", rand.Uint64(), rand.Uint64(), rand.Uint64(), rand.Uint64())
		p.Records[i] = r.Normalize()
	}
	return p
}

func ofNode(t testing.TB, s *Store, node string) int {
	t.Helper()
	return len(all(t, s, usagelog.Filter{KeyID: node}))
}

// A node that fills the log pushes out its own records and no other one's, whatever
// times it gives them, also after the log was opened anew.
func TestNodePushesOutItsOwn(t *testing.T) {
	t.Parallel()
	for name, shift := range map[string]time.Duration{"now": 0, "ahead": 10 * time.Minute, "past": -24 * time.Hour} {
		path := filepath.Join(t.TempDir(), "usage.db")
		s, err := Open(t.Context(), Options{Path: path, MaxBytes: MinMaxBytes})
		require.NoError(t, err)
		now := time.Now()
		require.NoError(t, s.AppendParts(t.Context(), []Part{sent("quiet", 1, 0, 3000, now), sent("", 2, 0, 3000, now), sent("busy", 3, 0, 20_000, now)}))
		total := 0
		for i := range 22 {
			if i == 11 {
				require.NoError(t, s.Close())
				s, err = Open(t.Context(), Options{Path: path, MaxBytes: MinMaxBytes})
				require.NoError(t, err)
			}
			at := now.Add(shift + time.Duration(i)*time.Second)
			require.NoError(t, s.AppendParts(t.Context(), []Part{sent("hostile", 4, total, 4096, at), sent("busy", 3, 20_000+10*i, 10, at)}))
			total += 4096
		}
		require.Equal(t, 3000, ofNode(t, s, "quiet"), name)
		require.Equal(t, 3000, ofNode(t, s, "own"), name)
		hostile, busy := ofNode(t, s, "hostile"), ofNode(t, s, "busy")
		require.Less(t, hostile, total*3/4, "the log was not full: the test shows nothing")
		require.Greater(t, busy, 15_000, "%s: one that has less than the largest keeps all but what its share is", name)
		require.NoError(t, s.shrink(t.Context())) // a batch is more than the slack of so small a log
		require.LessOrEqual(t, fileSize(t, s), int64(MinMaxBytes), name)
		kept := all(t, s, usagelog.Filter{KeyID: "hostile"})
		require.Equal(t, now.Add(shift+21*time.Second+4095).UTC(), kept[0].Time, "its newest stay")
		checkBlocks(t, s)
		require.NoError(t, s.Close())
	}
}

// Nodes that send much share the log evenly, however much each sends.
func TestBusyNodesShare(t *testing.T) {
	t.Parallel()
	s := mustOpen(t, Options{MaxBytes: MinMaxBytes})
	now := time.Now()
	for i := range 24 {
		at := now.Add(time.Duration(i) * time.Second)
		require.NoError(t, s.AppendParts(t.Context(), []Part{sent("a", 1, 4096*i, 4096, at), sent("b", 2, 1500*i, 1500, at), sent("c", 3, 20*i, 20, at)}))
	}
	a, b := ofNode(t, s, "a"), ofNode(t, s, "b")
	require.Equal(t, 24*20, ofNode(t, s, "c"))
	require.Less(t, b, 24*1500)
	require.InEpsilon(t, a, b, 0.25)
	require.NoError(t, s.shrink(t.Context())) // a batch is more than the slack of so small a log
	require.LessOrEqual(t, fileSize(t, s), int64(MinMaxBytes))
}

// A node that invents IDs has the log remember so many of them and no more, and what
// others sent is recognised.
func TestInventedIDs(t *testing.T) {
	t.Parallel()
	s := mustOpen(t, Options{MaxBytes: MinMaxBytes})
	now := time.Now()
	quiet := sent("quiet", 1, 0, 3000, now)
	require.NoError(t, s.AppendParts(t.Context(), []Part{quiet}))
	for i := range 20 {
		p := sent("hostile", 0, 0, 4096, now.Add(time.Duration(i)*time.Second))
		for j := range p.Records {
			p.Records[j].ID = numbered(rand.Uint64(), rand.Uint64()).ID
		}
		require.NoError(t, s.AppendParts(t.Context(), []Part{p}))
	}
	require.LessOrEqual(t, count(t, s, "SELECT count(*) FROM taken"), MinMaxBytes/bytesPerRun+4096+1)
	require.Equal(t, 3000, ofNode(t, s, "quiet"))
	require.Greater(t, ofNode(t, s, "hostile"), 20_000, "they take the place of records")
	require.NoError(t, s.AppendParts(t.Context(), []Part{quiet}))
	require.Equal(t, 3000, ofNode(t, s, "quiet"))
	require.NoError(t, s.shrink(t.Context())) // a batch is more than the slack of so small a log
	require.LessOrEqual(t, fileSize(t, s), int64(MinMaxBytes))
}

// What was counted is what is there, also after a failure, and names without end are
// bounded.
func TestNodesAreCounted(t *testing.T) {
	t.Parallel()
	s := mustOpen(t, Options{})
	var parts []Part
	for i := range 50 {
		parts = append(parts, sent(fmt.Sprint("node-", i), uint64(i+1), 0, 20*i+1, time.Now()))
	}
	require.NoError(t, s.AppendParts(t.Context(), parts))
	require.ErrorContains(t, s.change(t.Context(), func(w *writer) error {
		if err := w.appendPart(sent("lost", 99, 0, 100, time.Now()), 0); err != nil {
			return err
		}
		return fmt.Errorf("it failed")
	}), "it failed")
	check := func() {
		t.Helper()
		require.NoError(t, s.change(t.Context(), func(w *writer) error {
			was := map[string]int64{}
			for id, n := range w.bytes.stored {
				was[fmt.Sprint("bytes ", id)] = n
			}
			for id, n := range w.runs.stored {
				was[fmt.Sprint("runs ", id)] = n
			}
			is := map[string]int64{}
			rows, err := w.conn.QueryContext(t.Context(), "SELECT 'bytes ' || (lane / 8), sum(bytes) FROM blocks GROUP BY 1 UNION ALL SELECT 'runs ' || node, count(*) FROM taken GROUP BY 1")
			require.NoError(t, err)
			defer rows.Close()
			for rows.Next() {
				var what string
				var n int64
				require.NoError(t, rows.Scan(&what, &n))
				is[what] = n
			}
			require.NoError(t, rows.Err())
			require.Equal(t, is, was)
			require.NotContains(t, w.names.stored, "lost")
			return nil
		}))
	}
	check()
	require.NoError(t, s.AppendParts(t.Context(), parts))
	check()
	require.NoError(t, s.change(t.Context(), func(w *writer) error {
		for i := range maxNodes + 100 {
			id, err := w.nodeID(fmt.Sprint("more-", i))
			require.NoError(t, err)
			require.LessOrEqual(t, id, int64(maxNodes))
			require.Positive(t, id)
		}
		return nil
	}))
	check()
}
