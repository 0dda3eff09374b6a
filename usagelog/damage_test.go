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
		require.ErrorIs(t, err, ErrVersion)
	}
	after, err := os.ReadFile(names[0])
	require.NoError(t, err)
	require.Equal(t, b, after)
}
