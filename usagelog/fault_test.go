package usagelog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A disk makes segment files that fail as it is told.
type disk struct {
	mu      sync.Mutex
	err     error // every write fails
	short   error // a write fails half-way
	sync    error // fsync fails
	noTrunc bool  // what was written by half stays
}

func newDisk() *disk { return new(disk) }

func (d *disk) fail(err error) {
	d.mu.Lock()
	d.err = err
	d.mu.Unlock()
}

func (d *disk) create(name string) (segmentFile, error) {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	return &diskFile{f, d}, err
}

type diskFile struct {
	*os.File
	d *disk
}

func (f *diskFile) Write(b []byte) (int, error) {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	if f.d.err != nil {
		return 0, f.d.err
	}
	if f.d.short != nil && len(b) > segmentHead {
		n, _ := f.File.Write(b[:len(b)/2])
		return n, f.d.short
	}
	return f.File.Write(b)
}

func (f *diskFile) Sync() error {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	if f.d.sync != nil {
		return f.d.sync
	}
	return f.File.Sync()
}

func (f *diskFile) Truncate(size int64) error {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	if f.d.noTrunc {
		return syscall.EIO
	}
	return f.File.Truncate(size)
}

// TestRoom has a disk of which the last part is for others: while Options.Room says so
// nothing is written, and every record is there when it does not any more.
func TestRoom(t *testing.T) {
	var mu sync.Mutex
	full := errors.New("the disk is nearly full")
	room := full
	store := NewMemoryStore(0)
	dir := t.TempDir()
	w, err := Open(dir, store, &Options{Room: func() error {
		mu.Lock()
		defer mu.Unlock()
		return room
	}})
	require.NoError(t, err)
	for n := range 100 {
		r := sample(n)
		require.True(t, w.Record(r))
	}
	require.Eventually(t, func() bool { return w.Stats().WALErrors > 2 }, time.Minute, time.Millisecond, "it is tried again")
	require.ErrorIs(t, w.Stats().LastWALError, full)
	require.Zero(t, w.Stats().WALBytes)
	require.EqualValues(t, 100, w.Stats().Queued)
	mu.Lock()
	room = nil
	mu.Unlock()
	require.NoError(t, w.Drain(t.Context()))
	require.Equal(t, 100, store.Len())
	require.NoError(t, w.Close(t.Context()))
}

// TestDiskFaults breaks the disk in each way, lets it recover, and expects
// every record once: in the store, and in a replay of a copy of the directory.
func TestDiskFaults(t *testing.T) {
	for _, c := range []struct {
		name  string
		fsync bool
		set   func(*disk)
	}{
		{"disk full", false, func(d *disk) { d.err = syscall.ENOSPC }},
		{"disk full within a write", false, func(d *disk) { d.short = syscall.ENOSPC }},
		{"short write and the rest cannot be cut off", false, func(d *disk) { d.short, d.noTrunc = io.ErrShortWrite, true }},
		{"fsync fails", true, func(d *disk) { d.sync = syscall.EIO }},
		{"fsync fails and the rest cannot be cut off", true, func(d *disk) { d.sync, d.noTrunc = syscall.EIO, true }},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			d := newDisk()
			store := newFaultyStore(func(context.Context, []Record) error { return errors.New("down") })
			w, err := open(dir, store, &Options{Fsync: c.fsync}, d.create)
			require.NoError(t, err)
			require.NoError(t, w.Append(within(t), sample(0)))
			d.mu.Lock()
			c.set(d)
			d.mu.Unlock()
			for i := range 50 {
				require.True(t, w.Record(sample(1+i)))
			}
			require.Eventually(t, func() bool { return w.Stats().WALErrors >= 2 }, time.Minute, time.Millisecond, "it is tried again")
			s := w.Stats()
			balanced(t, s)
			require.Error(t, s.LastWALError)
			require.EqualValues(t, 1, s.Spilled, "nothing is acknowledged meanwhile")
			d.mu.Lock()
			d.err, d.short, d.sync = nil, nil, nil
			d.mu.Unlock()
			require.NoError(t, w.Flush(within(t)))

			copied := t.TempDir()
			require.NoError(t, os.CopyFS(copied, os.DirFS(dir)))
			store.set(nil)
			require.NoError(t, w.Close(within(t)))
			balanced(t, w.Stats())
			replayed := NewMemoryStore(0)
			w = mustOpen(t, copied, replayed, nil)
			require.NoError(t, w.Close(within(t)))
			for what, s := range map[string]Store{"live": store, "replayed": replayed} {
				have := stored(t, s)
				require.Len(t, have, 51, what)
				for id, n := range have {
					require.Equal(t, 1, n, "%s: %s", what, id)
				}
			}
		})
	}
}

func TestLostWhileTheDiskFails(t *testing.T) {
	d := newDisk()
	d.fail(syscall.ENOSPC)
	w, err := open(t.TempDir(), NewMemoryStore(0), &Options{QueueBytes: minQueueBytes}, d.create)
	require.NoError(t, err)
	queued := uint64(0)
	ctx := within(t)
	for i := 0; w.Stats().Lost[WALFailed] < 10; i++ {
		require.NoError(t, ctx.Err(), "what is lost is not counted")
		if w.Record(sample(i)) {
			queued++
		}
	}
	s := w.Stats()
	balanced(t, s)
	require.Equal(t, queued, s.Queued)
	var ce *CloseError
	require.ErrorAs(t, closeNow(w), &ce)
	require.Equal(t, queued, ce.Lost)
	s = w.Stats()
	balanced(t, s)
	require.Zero(t, s.Pending)
	require.Equal(t, s.Accepted, s.Lost[WALFailed]+s.Lost[QueueFull])
	require.GreaterOrEqual(t, s.Lost[WALFailed], queued+10)
	require.Empty(t, leaked())
}

// TestSpillFull fills the write-ahead files behind a store that is down, and
// checks that they stay within their bound and are emptied when it is back.
func TestSpillFull(t *testing.T) {
	store := newFaultyStore(func(context.Context, []Record) error { return errors.New("down") })
	o := Options{QueueBytes: minQueueBytes, WALBytes: 4 * minQueueBytes, Linger: -1}
	w := mustOpen(t, t.TempDir(), store, &o)
	i := 0
	ctx := within(t)
	for ; w.Stats().Lost[SpillFull] < 100; i++ {
		w.Record(sample(i))
		if i%100 == 0 {
			require.NoError(t, ctx.Err(), "what is lost is not counted")
			require.LessOrEqual(t, w.Stats().WALBytes, o.WALBytes)
			time.Sleep(100 * time.Microsecond)
		}
	}
	balanced(t, w.Stats())
	store.set(nil)
	require.NoError(t, w.Drain(within(t)))
	s := w.Stats()
	balanced(t, s)
	require.EqualValues(t, i, s.Accepted)
	require.EqualValues(t, store.Len(), s.Stored)
	require.LessOrEqual(t, s.WALFiles, 1, "segments are given back")
	require.NoError(t, w.Append(within(t), sample(i)))
}

// TestPoison puts records into a batch that the store never takes.
func TestPoison(t *testing.T) {
	for _, c := range []struct {
		name   string
		err    error
		poison func(n int) bool
	}{
		{"one, named as rejected", ErrRejected, func(n int) bool { return n == 200 }},
		{"one, not named", errors.New("constraint failed"), func(n int) bool { return n == 200 }},
		{"the first and the last", ErrRejected, func(n int) bool { return n == 0 || n == 399 }},
		{"a run, not named", errors.New("constraint failed"), func(n int) bool { return n >= 10 && n < 14 }},
		{"all", ErrRejected, func(int) bool { return true }},
	} {
		t.Run(c.name, func(t *testing.T) {
			bad := make(map[string]bool)
			for n := range 400 {
				bad[sample(n).RequestID] = c.poison(n)
			}
			store := newFaultyStore(func(_ context.Context, recs []Record) error {
				for _, r := range recs {
					if bad[r.RequestID] {
						return fmt.Errorf("record %s: %w", r.RequestID, c.err)
					}
				}
				return nil
			})
			w := mustOpen(t, t.TempDir(), store, &Options{BatchRecords: 64})
			want := uint64(0)
			for n := range 400 {
				require.True(t, w.Record(sample(n)))
				if c.poison(n) {
					want++
				}
			}
			for n := 400; w.Stats().Lost[Rejected] < want; n++ { // others go on
				require.True(t, w.Record(sample(n)))
				time.Sleep(time.Millisecond)
				require.Less(t, n, 20000, "%+v", w.Stats())
			}
			require.NoError(t, w.Drain(within(t)))
			s := w.Stats()
			balanced(t, s)
			require.Equal(t, want, s.Lost.Total())
			require.EqualValues(t, store.Len(), s.Stored)
			require.Error(t, s.LastStoreError)
		})
	}
}

// TestUnreliableStore fails at random, in part after it has stored, and loses
// nothing.
func TestUnreliableStore(t *testing.T) {
	var store *faultyStore
	rnd := rand.New(rand.NewPCG(1, 2))
	var failed, succeeded int
	store = newFaultyStore(func(ctx context.Context, recs []Record) error {
		switch rnd.IntN(8) {
		case 0:
			failed++
			store.MemoryStore.Append(ctx, recs[:len(recs)/2])
			return errors.New("connection lost")
		case 1:
			failed++
			return context.DeadlineExceeded
		}
		succeeded++
		return nil
	})
	w := mustOpen(t, t.TempDir(), store, &Options{BatchRecords: 16})
	for n := range 1000 {
		require.True(t, w.Record(sample(n)))
	}
	require.NoError(t, w.Close(within(t)))
	require.Positive(t, failed)
	require.Positive(t, succeeded)
	balanced(t, w.Stats())
	require.Len(t, stored(t, store), 1000)
	require.Equal(t, 1000, store.Len())
}

func TestStoreTimeout(t *testing.T) {
	stuck := true
	store := newFaultyStore(func(ctx context.Context, _ []Record) error {
		if stuck {
			stuck = false
			<-ctx.Done()
			return ctx.Err()
		}
		return nil
	})
	w := mustOpen(t, t.TempDir(), store, &Options{StoreTimeout: 20 * time.Millisecond})
	require.True(t, w.Record(sample(1)))
	require.NoError(t, w.Drain(within(t)))
	require.EqualValues(t, 1, w.Stats().StoreErrors)
}

// TestUnavailable has a store that says that it is full, takes some other
// records, and is full again: none is suspected.
func TestUnavailable(t *testing.T) {
	n := 0
	store := newFaultyStore(func(context.Context, []Record) error {
		if n++; n%3 != 0 && n < 100 {
			return fmt.Errorf("the stream: %w", ErrUnavailable)
		}
		return nil
	})
	w := mustOpen(t, t.TempDir(), store, &Options{BatchRecords: 2})
	for i := range 200 {
		require.True(t, w.Record(sample(i)))
	}
	require.NoError(t, w.Close(within(t)))
	s := w.Stats()
	balanced(t, s)
	require.Zero(t, s.Lost.Total())
	require.EqualValues(t, 200, s.Stored)
	require.ErrorIs(t, s.LastStoreError, ErrUnavailable)
}
