package usagelog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
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
			require.Eventually(t, func() bool { return w.Stats().WALErrors >= 2 }, 10*time.Second, time.Millisecond)
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
	for i := 0; w.Stats().Lost[WALFailed] < 10; i++ {
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
	for ; w.Stats().Lost[SpillFull] < 100; i++ {
		w.Record(sample(i))
		if i%100 == 0 {
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

// TestDamageWhileRunning damages the write-ahead file under a running Writer,
// beyond what it has read.
func TestDamageWhileRunning(t *testing.T) {
	for _, c := range []struct {
		name   string
		lost   uint64
		damage func(f *os.File, from, to int64) error // of the 100 records between these offsets
	}{
		{"one bit of the first record", 1, func(f *os.File, from, _ int64) error {
			b := make([]byte, 1)
			f.ReadAt(b, from+20)
			b[0] ^= 1
			_, err := f.WriteAt(b, from+20)
			return err
		}},
		{"zeros across two records", 2, func(f *os.File, from, to int64) error {
			size := (to - from) / 100
			_, err := f.WriteAt(make([]byte, size), from+size/2)
			return err
		}},
		{"one bit of the last byte", 1, func(f *os.File, _, to int64) error {
			_, err := f.WriteAt([]byte{0xff}, to-1)
			return err
		}},
		{"all of it", 100, func(f *os.File, from, to int64) error {
			_, err := f.WriteAt(make([]byte, to-from), from)
			return err
		}},
		{"cut off", 100, func(f *os.File, from, _ int64) error { return f.Truncate(from) }},
		{"cut within the last record", 1, func(f *os.File, _, to int64) error { return f.Truncate(to - 1) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			hold := make(chan struct{})
			store := newFaultyStore(func(context.Context, []Record) error { <-hold; return nil })
			w := mustOpen(t, dir, store, &Options{BatchRecords: 1})
			release := sync.OnceFunc(func() { close(hold) })
			t.Cleanup(release)
			// One record is with the store; those after it are in the file only.
			require.NoError(t, w.Append(within(t), sample(0)))
			require.Eventually(t, func() bool {
				store.mu.Lock()
				defer store.mu.Unlock()
				return store.calls == 1
			}, 10*time.Second, time.Millisecond)
			from := w.Stats().WALBytes
			for n := range 100 {
				r := sample(1000 + n) // all of the same length
				r.KeyID = "key"
				require.True(t, w.Record(r))
			}
			require.NoError(t, w.Flush(within(t)))
			names, err := filepath.Glob(filepath.Join(dir, "wal-*"))
			require.NoError(t, err)
			require.Len(t, names, 1)
			f, err := os.OpenFile(names[0], os.O_RDWR, 0)
			require.NoError(t, err)
			require.NoError(t, c.damage(f, from, w.Stats().WALBytes))
			require.NoError(t, f.Close())
			release()
			require.NoError(t, w.Drain(within(t)))
			s := w.Stats()
			balanced(t, s)
			require.Equal(t, c.lost, s.Lost[Damaged])
			require.Equal(t, 101-c.lost, s.Stored)
			require.NoError(t, w.Append(within(t), sample(1)), "and it goes on")
			require.NoError(t, w.Close(within(t)))
			require.Equal(t, 102-c.lost, w.Stats().Stored)
		})
	}
}

// leave fills dir with n records in segments of about 32 KiB, as a process
// that was killed leaves them, and returns the names of the segments.
func leave(t *testing.T, dir string, n int) []string {
	t.Helper()
	down := newFaultyStore(func(context.Context, []Record) error { return errors.New("down") })
	w := mustOpen(t, dir, down, &Options{QueueBytes: minQueueBytes, WALBytes: 4 * minQueueBytes})
	for i := range n {
		require.True(t, w.Record(sample(i)))
		if i%50 == 0 {
			require.NoError(t, w.Flush(within(t)))
		}
	}
	require.NoError(t, w.Flush(within(t)))
	require.Error(t, closeNow(w))
	names, err := filepath.Glob(filepath.Join(dir, "wal-*"))
	require.NoError(t, err)
	return names
}

func TestSegmentRemovedBeforeItIsRead(t *testing.T) {
	dir := t.TempDir()
	names := leave(t, dir, 1000)
	require.Greater(t, len(names), 2)
	hold := make(chan struct{})
	release := sync.OnceFunc(func() { close(hold) })
	t.Cleanup(release)
	store := newFaultyStore(func(context.Context, []Record) error { <-hold; return nil })
	w := mustOpen(t, dir, store, &Options{BatchRecords: 1})
	require.NoError(t, os.Remove(names[1]))
	release()
	require.NoError(t, w.Drain(within(t)))
	s := w.Stats()
	balanced(t, s)
	require.EqualValues(t, 1000, s.Accepted)
	require.Positive(t, s.Lost[Damaged])
	require.EqualValues(t, store.Len(), s.Stored)
	require.NoError(t, w.Close(within(t)))
}

// TestDamageFoundByOpen damages files that were left behind: what is readable
// is stored, and what is not is counted and named.
func TestDamageFoundByOpen(t *testing.T) {
	for _, c := range []struct {
		name          string
		damage        func(b []byte) []byte // of the first of several segments
		lost          int                   // records
		stretch, torn bool
	}{
		{"nothing", func(b []byte) []byte { return b }, 0, false, false},
		{"torn tail", func(b []byte) []byte { return b[:len(b)-1] }, 1, false, true},
		{"tail of zeros, as file systems leave it", func(b []byte) []byte { return append(b, make([]byte, 5000)...) }, 0, false, true},
		{"torn header", func(b []byte) []byte { return b[:3] }, -1, false, true},
		{"empty", func([]byte) []byte { return nil }, -1, false, false},
		{"header of another program", func(b []byte) []byte { copy(b, "SQLite f"); return b }, 0, true, false},
		{"length of the first record too long", func(b []byte) []byte { b[segmentHead+7] = 0xff; return b }, 1, true, false},
		{"bit in the middle", func(b []byte) []byte { b[len(b)/2] ^= 4; return b }, 1, true, false},
		{"all zeros", func(b []byte) []byte { clear(b); return b }, -1, false, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			names := leave(t, dir, 600)
			b, err := os.ReadFile(names[0])
			require.NoError(t, err)
			rp := replay{}
			first := &segment{name: names[0]}
			require.NoError(t, rp.scan(first, nil))
			if c.lost < 0 {
				c.lost = int(first.records)
			}
			require.NoError(t, os.WriteFile(names[0], c.damage(b), 0o600))
			var reports []*DamageError
			store := NewMemoryStore(0)
			w := mustOpen(t, dir, store, &Options{OnError: func(err error) {
				var de *DamageError
				if errors.As(err, &de) {
					reports = append(reports, de)
				}
			}})
			require.NoError(t, w.Drain(within(t)))
			s := w.Stats()
			balanced(t, s)
			require.Equal(t, 600-c.lost, store.Len())
			require.EqualValues(t, 600-c.lost, s.Replayed)
			require.Equal(t, c.stretch, s.DamagedStretches > 0)
			require.Equal(t, c.stretch, s.DamagedBytes > 0)
			require.Equal(t, c.torn, s.TornBytes > 0)
			if c.stretch || c.torn {
				require.Len(t, reports, 1)
				require.Equal(t, names[0], reports[0].File)
				require.Equal(t, c.torn, reports[0].Torn)
				require.Positive(t, reports[0].Bytes)
				require.Contains(t, reports[0].Error(), "not records")
			} else {
				require.Empty(t, reports)
			}
			require.NoError(t, w.Close(within(t)))
		})
	}
}

func TestNewerVersionIsLeftAlone(t *testing.T) {
	dir := t.TempDir()
	names := leave(t, dir, 10)
	b, err := os.ReadFile(names[0])
	require.NoError(t, err)
	b[segmentHead-1] = segmentVersion + 1
	require.NoError(t, os.WriteFile(names[0], b, 0o600))
	for range 2 { // the lock is given back
		_, err = Open(dir, NewMemoryStore(0), nil)
		require.ErrorIs(t, err, errVersion)
	}
	after, err := os.ReadFile(names[0])
	require.NoError(t, err)
	require.Equal(t, b, after)
}
