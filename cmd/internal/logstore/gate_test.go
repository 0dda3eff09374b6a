package logstore

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow/cmd/internal/logtraffic"
	"github.com/ipallow/ipallow/usagelog"
)

func TestGate(t *testing.T) {
	g := newGate(1, 2)
	g.longest = time.Minute
	require.NoError(t, g.enter(t.Context()))
	done := make(chan error, 2)
	for range 2 {
		go func() { done <- g.do(t.Context(), func() error { return nil }) }()
	}
	require.Eventually(t, func() bool { return len(g.waiting) == 3 }, time.Minute, time.Millisecond, "two wait")
	require.ErrorIs(t, g.enter(t.Context()), ErrBusy, "a fourth")
	g.leave()
	require.NoError(t, <-done)
	require.NoError(t, <-done)

	require.NoError(t, g.enter(t.Context()))
	g.longest = time.Nanosecond
	require.ErrorIs(t, g.enter(t.Context()), ErrBusy, "one that waits for long")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	g.longest = time.Minute
	require.ErrorIs(t, g.enter(ctx), context.Canceled)
	g.leave()
	require.Empty(t, g.waiting)
	require.Empty(t, g.inside)
}

// What a change of keys asks for, and the page without a filter, do not wait for
// charts and exports, however many there are; and those are refused beyond a number.
func TestReadersDoNotStarve(t *testing.T) {
	s := mustOpen(t, Options{})
	g := logtraffic.NewGenerator(5)
	require.NoError(t, s.Append(t.Context(), g.Batch(3000)))
	for range cap(s.heavy.inside) { // charts that never end
		require.NoError(t, s.heavy.enter(t.Context()))
		defer s.heavy.leave()
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var wg sync.WaitGroup
	defer wg.Wait()
	charts, stop := context.WithCancel(ctx)
	defer stop()
	f := usagelog.Filter{PathPrefix: "/v1/", From: begin, To: begin.Add(time.Hour)}
	for range maxWaiting {
		wg.Go(func() {
			_, err := s.Summary(charts, f, time.Minute)
			if err != context.Canceled {
				t.Errorf("a chart that waits: %v", err)
			}
		})
	}
	require.Eventually(t, func() bool { return len(s.heavy.waiting) == cap(s.heavy.waiting) }, time.Minute, time.Millisecond, "all wait")
	_, err := s.Summary(ctx, f, time.Minute)
	require.ErrorIs(t, err, ErrBusy)
	_, err = s.Query(ctx, usagelog.Query{Filter: f})
	require.ErrorIs(t, err, ErrBusy)

	seen, err := s.Seen(ctx, g.Keys[0], begin)
	require.NoError(t, err)
	require.NotEmpty(t, seen)
	page, err := s.Query(ctx, usagelog.Query{})
	require.NoError(t, err)
	require.Len(t, page.Records, usagelog.DefaultLimit)
	require.NoError(t, s.Append(ctx, g.Batch(10)))
	stop()
}

func TestExportsAreBounded(t *testing.T) {
	s := mustOpen(t, Options{})
	require.NoError(t, s.Append(t.Context(), logtraffic.NewGenerator(5).Batch(10)))
	var open func(n int)
	open = func(n int) {
		for _, err := range s.Stream(t.Context(), usagelog.Filter{}) {
			if n == maxExports {
				require.ErrorIs(t, err, ErrBusy)
				return
			}
			require.NoError(t, err)
			open(n + 1)
			return
		}
		t.Error("no record")
	}
	open(0)
	require.Len(t, all(t, s, usagelog.Filter{}), 10, "their places are free again")
}
