package guesses

import (
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A world is a Limiter with a clock that stands still.
type world struct {
	*Limiter
	clock time.Time
}

func newWorld() *world {
	w := &world{clock: time.Unix(1e9, 0)}
	w.Limiter = New(func() time.Time { return w.clock })
	return w
}

// within returns how many of n wrong tokens were within the bounds.
func (w *world) within(n int, addr func(i int) string) (count int) {
	for i := range n {
		if w.Wrong(netip.MustParseAddr(addr(i))) == 0 {
			count++
		}
	}
	return count
}

func always(addr string) func(int) string { return func(int) string { return addr } }

func TestBounds(t *testing.T) {
	w := newWorld()
	require.Equal(t, Burst, w.within(100, always("192.0.2.1")))
	require.Equal(t, Every, w.Wrong(netip.MustParseAddr("192.0.2.1")).Round(time.Millisecond))
	require.Equal(t, Burst, w.within(100, func(i int) string { return fmt.Sprintf("2001:db8:1:1::%x", i+1) }), "a /64 is one client")
	require.Equal(t, Burst, w.within(100, func(i int) string { return []string{"192.0.2.2", "::ffff:192.0.2.2"}[i%2] }))
	w.clock = w.clock.Add(Every)
	require.Equal(t, 1, w.within(100, always("192.0.2.1")), "one comes back")
	w.clock = w.clock.Add(time.Hour)
	require.Equal(t, Burst, w.within(100, always("192.0.2.1")), "time heals")
}

// Whoever has an address for each token is bounded too, and what is beyond the
// bounds counts for nothing.
func TestANewAddressEachTime(t *testing.T) {
	w := newWorld()
	each := func(i int) string { return fmt.Sprintf("10.0.%d.%d", i/256, i%256) }
	require.Equal(t, AllBurst, w.within(1000, each))
	require.Equal(t, AllEvery, w.Wrong(netip.MustParseAddr("192.0.2.1")).Round(time.Millisecond))
	require.Equal(t, AllEvery, w.Wrong(netip.Addr{}).Round(time.Millisecond), "no address is no way around it")
	w.clock = w.clock.Add(2 * AllEvery)
	require.Equal(t, 2, w.within(1000, each))
}

// Clients without an address share one count.
func TestNoAddress(t *testing.T) {
	w := newWorld()
	for range Burst {
		require.Zero(t, w.Wrong(netip.Addr{}))
	}
	require.Positive(t, w.Wrong(netip.Addr{}))
	require.Zero(t, w.Wrong(netip.MustParseAddr("192.0.2.1")))
}

func TestMemoryIsBounded(t *testing.T) {
	w := newWorld()
	for i := range maxClients + 100 {
		w.clock = w.clock.Add(AllEvery)
		require.Zero(t, w.Wrong(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})))
	}
	require.Equal(t, maxClients, w.clients.Len())
}

func TestAtOnce(t *testing.T) {
	l := newWorld()
	var within atomic.Int64
	var all sync.WaitGroup
	for range 100 {
		all.Go(func() {
			if l.Wrong(netip.MustParseAddr("203.0.113.5")) == 0 {
				within.Add(1)
			}
		})
	}
	all.Wait()
	require.EqualValues(t, Burst, within.Load())
}

func TestCaller(t *testing.T) {
	for addr, want := range map[string]string{
		"203.0.113.5":         "203.0.113.5/32",
		"::ffff:203.0.113.5":  "203.0.113.5/32",
		"2001:db8:1:2:3::4":   "2001:db8:1:2::/64",
		"2001:db8:1:2::5%eth": "2001:db8:1:2::/64",
	} {
		require.Equal(t, want, caller(netip.MustParseAddr(addr)).String())
	}
	require.Equal(t, netip.Prefix{}, caller(netip.Addr{}))
}
