package usagelog

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestWriterStores(t *testing.T) {
	store := NewMemoryStore(0)
	dir := t.TempDir()
	w := mustOpen(t, dir, store, nil)
	const n = 2000
	for i := range n {
		require.True(t, w.Record(sample(i)))
	}
	require.NoError(t, w.Drain(within(t)))
	require.Equal(t, n, store.Len(), "Drain: everything can be queried")
	s := w.Stats()
	balanced(t, s)
	require.EqualValues(t, n, s.Stored)
	require.NoError(t, w.Close(within(t)))

	ids := make(map[RecordID]bool)
	i := n
	for r, err := range store.Stream(t.Context(), Filter{}) {
		require.NoError(t, err)
		i--
		want := sample(i)
		want.ID = r.ID
		require.Equal(t, want, r)
		ids[r.ID] = true
	}
	require.Len(t, ids, n)
	names, err := filepath.Glob(filepath.Join(dir, "wal-*"))
	require.NoError(t, err)
	require.Empty(t, names, "a clean Close leaves nothing to replay")
}

func TestWriterFillsInAndNormalises(t *testing.T) {
	store := NewMemoryStore(0)
	w := mustOpen(t, t.TempDir(), store, nil)
	before := time.Now()
	id := RecordID{1, 2, 3}
	require.NoError(t, w.Append(within(t), Record{ID: id, Path: "/a?token=secret", Method: "GE\nT"}))
	require.NoError(t, w.Drain(within(t)))
	page, err := store.Query(t.Context(), Query{})
	require.NoError(t, err)
	require.Len(t, page.Records, 1)
	r := page.Records[0]
	require.NotEqual(t, id, r.ID, "IDs are the Writer's")
	require.Equal(t, "/a", r.Path)
	require.Equal(t, "GE\ufffdT", r.Method)
	require.WithinRange(t, r.Time, before.Add(-time.Second), time.Now().Add(time.Second))
}

// TestAcknowledgedBeforeTheStore checks what an acknowledgement means: the
// store never takes anything, the Writer ends as if killed, and the next one
// on the same directory stores all that was acknowledged.
func TestAcknowledgedBeforeTheStore(t *testing.T) {
	for _, fsync := range []bool{false, true} {
		dir := t.TempDir()
		down := newFaultyStore(func(context.Context, []Record) error { return errors.New("down") })
		w := mustOpen(t, dir, down, &Options{Fsync: fsync})
		const goroutines, each = 8, 25
		var wg sync.WaitGroup
		for g := range goroutines {
			wg.Go(func() {
				for i := range each {
					if err := w.Append(within(t), sample(g*each+i)); err != nil {
						t.Errorf("Append: %v", err)
					}
				}
			})
		}
		wg.Wait()
		require.True(t, w.Record(sample(goroutines*each)))
		require.NoError(t, w.Flush(within(t)))
		require.EqualValues(t, goroutines*each+1, w.Stats().Spilled)

		var ce *CloseError
		require.ErrorAs(t, closeNow(w), &ce)
		require.EqualValues(t, goroutines*each+1, ce.Waiting)
		require.Zero(t, ce.Lost)
		require.Zero(t, down.Len())
		balanced(t, w.Stats())

		store := NewMemoryStore(0)
		for range 2 { // the second time nothing is left
			w = mustOpen(t, dir, store, &Options{Fsync: fsync})
			require.NoError(t, w.Drain(within(t)))
			require.NoError(t, w.Close(within(t)))
			balanced(t, w.Stats())
			require.Equal(t, goroutines*each+1, store.Len())
		}
		require.Zero(t, w.Stats().Replayed)
		for id, n := range stored(t, store) {
			require.Equal(t, 1, n, id)
		}
	}
}

// TestReplayIsIdempotent replays the same files into the same store twice.
func TestReplayIsIdempotent(t *testing.T) {
	dir, copied := t.TempDir(), t.TempDir()
	down := newFaultyStore(func(context.Context, []Record) error { return errors.New("down") })
	w := mustOpen(t, dir, down, nil)
	for i := range 100 {
		require.True(t, w.Record(sample(i)))
	}
	require.NoError(t, w.Flush(within(t)))
	require.Error(t, closeNow(w))
	require.NoError(t, os.CopyFS(copied, os.DirFS(dir)))
	store := NewMemoryStore(0)
	for _, d := range []string{dir, copied} {
		w := mustOpen(t, d, store, nil)
		require.EqualValues(t, 100, w.Stats().Replayed)
		require.NoError(t, w.Close(within(t)))
	}
	require.Equal(t, 100, store.Len())
}

func TestRecordDoesNotWait(t *testing.T) {
	release := make(chan struct{})
	store := newFaultyStore(func(context.Context, []Record) error { <-release; return nil })
	w := mustOpen(t, t.TempDir(), store, &Options{QueueBytes: minQueueBytes, WALBytes: 4 * minQueueBytes})
	t.Cleanup(sync.OnceFunc(func() { close(release) }))
	begin := time.Now()
	lost := 0
	for i := range 20000 { // about 2.4 MB into 384 KB
		if !w.Record(sample(i)) {
			lost++
		}
	}
	require.Less(t, time.Since(begin), 5*time.Second)
	require.Positive(t, lost)
	s := w.Stats()
	balanced(t, s)
	require.EqualValues(t, lost, s.Lost.Total())
	require.Zero(t, s.Stored, "the store has not answered yet")
	require.LessOrEqual(t, s.WALBytes, int64(4*minQueueBytes))
}

func TestLock(t *testing.T) {
	dir := t.TempDir()
	w := mustOpen(t, dir, NewMemoryStore(0), nil)
	_, err := Open(dir, NewMemoryStore(0), nil)
	require.ErrorIs(t, err, ErrLocked)
	require.NoError(t, w.Close(within(t)))
	w = mustOpen(t, dir, NewMemoryStore(0), nil)
	require.NoError(t, w.Close(within(t)))
}

func TestAfterClose(t *testing.T) {
	w := mustOpen(t, t.TempDir(), NewMemoryStore(0), nil)
	require.True(t, w.Record(sample(1)))
	require.NoError(t, w.Close(within(t)))
	require.NoError(t, w.Close(within(t)), "closing again is harmless")
	require.False(t, w.Record(sample(2)))
	var le *LostError
	require.ErrorAs(t, w.Append(within(t), sample(3)), &le)
	require.Equal(t, Closed, le.Cause)
	require.ErrorIs(t, w.Flush(within(t)), ErrClosed)
	require.ErrorIs(t, w.Drain(within(t)), ErrClosed)
	s := w.Stats()
	balanced(t, s)
	require.EqualValues(t, 2, s.Lost[Closed])
	require.EqualValues(t, 1, s.Stored)
	require.Empty(t, leaked())
}

// TestCloseDuringUse closes from several goroutines while others record, and
// checks at every moment that the counts add up.
func TestCloseDuringUse(t *testing.T) {
	store := NewMemoryStore(0)
	w := mustOpen(t, t.TempDir(), store, &Options{Linger: time.Millisecond})
	var wg sync.WaitGroup
	var mu sync.Mutex
	acked := make(map[string]bool)
	begun := make(chan struct{}) // closed when 20 records are acknowledged
	stop := make(chan struct{})
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				balanced(t, w.Stats())
			}
		}
	})
	var users sync.WaitGroup
	for g := range 4 {
		users.Go(func() {
			for i := range 2000 {
				r := sample(g*2000 + i)
				if i%10 != 0 {
					w.Record(r)
				} else if w.Append(context.Background(), r) == nil {
					mu.Lock()
					acked[r.RequestID] = true
					if len(acked) == 20 {
						close(begun)
					}
					mu.Unlock()
				}
			}
		})
	}
	for range 3 {
		users.Go(func() {
			<-begun
			if err := w.Close(within(t)); err != nil {
				t.Errorf("Close: %v", err)
			}
		})
	}
	users.Wait()
	close(stop)
	wg.Wait()
	s := w.Stats()
	balanced(t, s)
	require.EqualValues(t, 8000, s.Accepted)
	require.Zero(t, s.Pending)
	require.EqualValues(t, store.Len(), s.Stored)
	require.NotEmpty(t, acked)
	have := stored(t, store)
	for id := range acked {
		require.Equal(t, 1, have[id], "acknowledged %s", id)
	}
}

func TestAppendGivesUpWithItsContext(t *testing.T) {
	disk := newDisk()
	disk.fail(errors.New("no space left"))
	w, err := open(t.TempDir(), NewMemoryStore(0), nil, disk.create)
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, w.Append(ctx, sample(1)), context.DeadlineExceeded)
	disk.fail(nil)
	require.NoError(t, w.Close(within(t)), "the record is still being recorded")
	require.EqualValues(t, 1, w.Stats().Stored)
}

func TestOptions(t *testing.T) {
	for _, o := range []Options{
		{QueueBytes: minQueueBytes - 1},
		{QueueBytes: -1},
		{QueueBytes: 1 << 20, WALBytes: 4<<20 - 1},
		{WALBytes: -1},
		{Linger: time.Hour},
		{BatchRecords: -1},
		{BatchRecords: maxBatchRecords + 1},
		{StoreTimeout: -1},
		{StoreLinger: -1},
		{StoreLinger: time.Hour},
	} {
		_, err := Open(t.TempDir(), NewMemoryStore(0), &o)
		require.Error(t, err, "%+v", o)
	}
	w := mustOpen(t, filepath.Join(t.TempDir(), "a", "b"), NewMemoryStore(0), &Options{Linger: -1})
	require.NoError(t, w.Append(within(t), sample(1)))
	require.NoError(t, w.Close(within(t)))
}
