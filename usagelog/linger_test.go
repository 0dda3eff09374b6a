package usagelog

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestStoreLinger(t *testing.T) {
	var calls atomic.Int64
	store := newFaultyStore(func(context.Context, []Record) error { calls.Add(1); return nil })
	w := mustOpen(t, t.TempDir(), store, &Options{Linger: -1, BatchRecords: 10, StoreLinger: time.Minute})
	come := func(records int) {
		t.Helper()
		require.Eventually(t, func() bool { return store.Len() == records }, time.Minute, time.Millisecond, "all are stored")
	}
	n := 0
	record := func(records int) {
		t.Helper()
		for range records {
			n++
			require.NoError(t, w.Append(within(t), sample(n)))
		}
	}
	record(1)
	come(1) // the first one waits for nothing
	require.EqualValues(t, 1, calls.Load())

	record(5)
	require.EqualValues(t, 1, calls.Load())
	require.NoError(t, w.Drain(within(t)), "Drain does not wait a minute")
	come(6)
	require.EqualValues(t, 2, calls.Load(), "five that were written one by one, in one call")

	record(10)
	require.NoError(t, w.Drain(within(t)))
	was := calls.Load()
	record(3)
	require.EqualValues(t, was, calls.Load(), "after a Drain it is as before")
	require.NoError(t, w.Close(within(t)), "Close does not wait a minute")
	require.Equal(t, n, store.Len())
	require.EqualValues(t, was+1, calls.Load())
	balanced(t, w.Stats())
}

// A full batch is not kept back, and one that waited long enough is not either.
func TestStoreLingerEnds(t *testing.T) {
	store := newFaultyStore(nil)
	w := mustOpen(t, t.TempDir(), store, &Options{Linger: -1, StoreLinger: 50 * time.Millisecond})
	for n := range 20 {
		require.NoError(t, w.Append(within(t), sample(n)))
	}
	require.Eventually(t, func() bool { return store.Len() == 20 }, time.Minute, time.Millisecond, "all are stored")

	store = newFaultyStore(nil)
	w = mustOpen(t, t.TempDir(), store, &Options{Linger: time.Hour / 60, BatchRecords: 10, StoreLinger: time.Minute})
	for n := range 25 {
		require.True(t, w.Record(sample(n)))
	}
	require.NoError(t, w.Flush(within(t)))
	require.Eventually(t, func() bool { return store.Len() >= 20 }, time.Minute, time.Millisecond, "all are stored")
}

// A store that fails has its pauses, and gets its records all the same.
func TestStoreLingerAndFaults(t *testing.T) {
	var calls atomic.Int64
	store := newFaultyStore(func(context.Context, []Record) error {
		if calls.Add(1)%2 == 0 {
			return context.DeadlineExceeded
		}
		return nil
	})
	w := mustOpen(t, t.TempDir(), store, &Options{Linger: -1, BatchRecords: 8, StoreLinger: time.Millisecond})
	for n := range 100 {
		require.NoError(t, w.Append(within(t), sample(n)))
	}
	require.NoError(t, w.Drain(within(t)))
	require.Equal(t, 100, store.Len())
	balanced(t, w.Stats())
}

// Write-ahead files that are full are not kept waiting.
func TestStoreLingerMakesRoom(t *testing.T) {
	store := newFaultyStore(nil)
	w := mustOpen(t, t.TempDir(), store, &Options{
		QueueBytes: minQueueBytes, WALBytes: 4 * minQueueBytes, BatchRecords: maxBatchRecords, StoreLinger: time.Minute,
	})
	for n := range 10_000 { // 1.2 MB into 256 KB, with nobody who drains
		require.NoError(t, w.Append(within(t), sample(n)))
	}
	require.Zero(t, w.Stats().Lost.Total())
	require.GreaterOrEqual(t, store.Len(), 10_000-3000)
}
