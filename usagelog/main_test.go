package usagelog

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow"
)

func TestMain(m *testing.M) {
	if os.Getenv(killEnv) != "" {
		killChild() // never returns
	}
	code := m.Run()
	if stacks := leaked(); code == 0 && stacks != "" {
		fmt.Fprintln(os.Stderr, "goroutines of a Writer are left after all tests:\n"+stacks)
		code = 1
	}
	os.Exit(code)
}

// leaked returns the stacks of goroutines that belong to a Writer, giving them
// a moment to end.
func leaked() string {
	var found string
	for range 100 {
		buf := make([]byte, 1<<20)
		buf = buf[:runtime.Stack(buf, true)]
		found = ""
		for _, g := range strings.Split(string(buf), "\n\n") {
			if strings.Contains(g, "usagelog.(*Writer).spill") || strings.Contains(g, "usagelog.(*Writer).deliver") {
				found += g + "\n\n"
			}
		}
		if found == "" {
			return ""
		}
		time.Sleep(10 * time.Millisecond)
	}
	return found
}

// start is when the records of the tests begin.
var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// sample returns the n-th record; its RequestID tells n.
func sample(n int) Record {
	return Record{
		Time:      start.Add(time.Duration(n) * time.Millisecond),
		RequestID: fmt.Sprintf("req-%d", n), KeyID: fmt.Sprintf("key-%d", n%7), Method: "GET",
		Path: fmt.Sprintf("/v1/items/%d", n), Status: 200,
		ClientAddr: netip.AddrFrom4([4]byte{203, 0, 113, byte(n)}), Verdict: ipallow.Allowed,
		Duration: time.Duration(n) * time.Microsecond,
	}
}

// A faultyStore is a MemoryStore whose Append can be told to fail or to wait.
type faultyStore struct {
	*MemoryStore
	mu    sync.Mutex
	fault func(ctx context.Context, recs []Record) error
	calls int
}

func newFaultyStore(fault func(context.Context, []Record) error) *faultyStore {
	return &faultyStore{MemoryStore: NewMemoryStore(0), fault: fault}
}

func (s *faultyStore) set(fault func(context.Context, []Record) error) {
	s.mu.Lock()
	s.fault = fault
	s.mu.Unlock()
}

func (s *faultyStore) Append(ctx context.Context, recs []Record) error {
	s.mu.Lock()
	fault := s.fault
	s.calls++
	s.mu.Unlock()
	if fault != nil {
		if err := fault(ctx, recs); err != nil {
			return err
		}
	}
	return s.MemoryStore.Append(ctx, recs)
}

// mustOpen opens a Writer that the end of the test closes.
func mustOpen(t testing.TB, dir string, s Store, o *Options) *Writer {
	t.Helper()
	w, err := Open(dir, s, o)
	require.NoError(t, err)
	t.Cleanup(func() { closeNow(w) })
	return w
}

// closeNow ends a Writer without waiting for its store, as a test that is
// over, or plays a crash, does.
func closeNow(w *Writer) error {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return w.Close(ctx)
}

// within returns a context for what takes no time unless it hangs.
func within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// balanced fails unless the counts add up.
func balanced(t testing.TB, s Stats) {
	t.Helper()
	require.Equal(t, s.Accepted, s.Stored+s.Pending+s.Lost.Total(), "accepted = stored + pending + lost: %+v", s)
	require.Equal(t, s.Pending, s.Queued+s.Spilled, "pending = queued + spilled: %+v", s)
}

// stored returns how often each RequestID is in the store.
func stored(t testing.TB, s Store) map[string]int {
	t.Helper()
	seen := make(map[string]int)
	for r, err := range s.Stream(context.Background(), Filter{}) {
		require.NoError(t, err)
		seen[r.RequestID]++
	}
	return seen
}
