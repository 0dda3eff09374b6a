package natsfeed

import (
	"fmt"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
)

// times are how long changes took from their acknowledgement until they were
// in force on every node.
type times []time.Duration

func (d times) at(p float64) time.Duration { return d[min(len(d)-1, int(p*float64(len(d))))] }

func (d times) String() string {
	return fmt.Sprintf("%d changes: p50 %v, p99 %v, max %v", len(d),
		d.at(0.5).Round(10*time.Microsecond), d.at(0.99).Round(10*time.Microsecond), d[len(d)-1].Round(10*time.Microsecond))
}

// A propagation is engines that follow a bucket which holds keys, each on a
// connection of its own.
type propagation struct {
	kv       jetstream.KeyValue
	mu       sync.Mutex
	enforced []map[uint64]time.Time // of each engine, when a revision was in force
	runs     int
}

// With accounts, each has one of its own, and follows with a consumer that was made
// for it.
func newPropagation(t testing.TB, engines, keys int, accounts bool) *propagation {
	t.Helper()
	var names []string
	for i := range engines {
		names = append(names, fmt.Sprintf("node-%d", i))
	}
	n := startAccounts(t, names...)
	js := connect(t, n.as("bucket"))
	p := &propagation{kv: makeBucket(t, js, jetstream.KeyValueConfig{})}
	publish(t, p.kv, "first", "203.0.113.7")
	fill(t, js, keys)
	for i := range engines {
		enforced := make(map[uint64]time.Time)
		p.enforced = append(p.enforced, enforced)
		o := Options{After: func(b *Batch) {
			now := time.Now()
			p.mu.Lock()
			defer p.mu.Unlock()
			for c := range b.All() {
				if !b.Reset {
					enforced[c.Revision] = now
				}
			}
		}}
		nodeJS := connect(t, n.as("bucket"))
		if accounts {
			nodeJS, o.Consumer = inAccount(t, n.as(names[i])), names[i]
			require.NoError(t, CreateConsumer(within(t), js, bucketName, names[i]))
		}
		feed, err := Follow(within(t), newEngine(), nodeJS, bucketName, &o)
		require.NoError(t, err)
		t.Cleanup(func() { feed.Close() })
	}
	return p
}

// run publishes changes at a rate a second, and returns the times in order.
func (p *propagation) run(t testing.TB, rate, changes int) times {
	t.Helper()
	p.runs++
	run := p.runs
	acked := make(map[uint64]time.Time)
	tick := time.NewTicker(time.Second / time.Duration(rate))
	defer tick.Stop()
	var wg sync.WaitGroup
	for i := range changes {
		<-tick.C
		wg.Go(func() {
			rev, err := Publish(within(t), p.kv, fmt.Sprintf("changed-%d-%d", run, i), entriesOf("203.0.113.7"), nil)
			if err != nil {
				t.Error(err)
				return
			}
			now := time.Now()
			p.mu.Lock()
			acked[rev] = now
			p.mu.Unlock()
		})
	}
	wg.Wait()
	all := func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, e := range p.enforced {
			for rev := range acked {
				if e[rev].IsZero() {
					return false
				}
			}
		}
		return len(acked) == changes
	}
	eventually(t, all, func() string { return "every change on every engine" })
	p.mu.Lock()
	defer p.mu.Unlock()
	var d times
	for rev, at := range acked {
		worst := time.Duration(0) // in force before the acknowledgement arrived
		for _, e := range p.enforced {
			worst = max(worst, e[rev].Sub(at))
		}
		d = append(d, worst)
	}
	slices.Sort(d)
	return d
}

func TestPropagation(t *testing.T) {
	d := newPropagation(t, 3, 1000, false).run(t, 100, 200)
	t.Logf("3 nodes, 100 changes a second: %v", d)
	require.Less(t, d.at(0.99), 10*time.Second, "on whatever machine")
}

// BenchmarkPropagation measures from the acknowledgement of a change until the
// last engine enforces it, with all of them and a server in one process.
// IPALLOW_PROPAGATION=large adds a million keys, and fifty engines.
func BenchmarkPropagation(b *testing.B) {
	cells := []struct{ engines, keys int }{{3, 1_000}, {3, 100_000}}
	if os.Getenv("IPALLOW_PROPAGATION") == "large" {
		cells = append(cells, []struct{ engines, keys int }{{3, 1_000_000}, {50, 100_000}}...)
	}
	for _, c := range cells {
		for _, accounts := range []bool{false, true} {
			b.Run(fmt.Sprintf("engines=%d/keys=%d/accounts=%t", c.engines, c.keys, accounts), func(b *testing.B) {
				p := newPropagation(b, c.engines, c.keys, accounts)
				for _, rate := range []int{1, 100, 1000} {
					b.Run(fmt.Sprintf("rate=%d", rate), func(b *testing.B) {
						d := p.run(b, rate, min(5*rate, 3000))
						b.ReportMetric(0, "ns/op")
						b.ReportMetric(float64(d.at(0.5).Microseconds())/1000, "p50-ms")
						b.ReportMetric(float64(d.at(0.99).Microseconds())/1000, "p99-ms")
						b.ReportMetric(float64(d[len(d)-1].Microseconds())/1000, "max-ms")
					})
				}
			})
		}
	}
}

// BenchmarkWire measures what a node and its server send each other: while
// nothing happens, with the default options, and for each change of a key of 33
// bytes with a list of five entries and 64 bytes of Meta.
func BenchmarkWire(b *testing.B) {
	n := startNode(b)
	js := connect(b, n.url())
	kv := makeBucket(b, js, jetstream.KeyValueConfig{})
	line := startProxy(b, fmt.Sprintf("127.0.0.1:%d", n.opts.Port))
	list := entriesOf("203.0.113.0/24", "198.51.100.7", "192.0.2.0/25", "2001:db8::/48", "203.0.112.7")
	change := func(i int) uint64 {
		rev, err := Publish(within(b), kv, fmt.Sprintf("ipk_%029d", i), list, &PublishOptions{Meta: make([]byte, 64)})
		require.NoError(b, err)
		return rev
	}
	change(0)
	feed, err := Follow(within(b), newEngine(), connect(b, line.url()), bucketName, nil)
	require.NoError(b, err)
	defer feed.Close()
	for b.Loop() {
		const idle = 30 * time.Second
		down, up := line.toClients.Load(), line.toServer.Load()
		time.Sleep(idle)
		idleDown, idleUp := line.toClients.Load()-down, line.toServer.Load()-up
		b.ReportMetric(float64(idleDown)/idle.Seconds(), "idle-B/s-down")
		b.ReportMetric(float64(idleUp)/idle.Seconds(), "idle-B/s-up")
		const changes = 1000
		down, last := line.toClients.Load(), uint64(0)
		for i := range changes {
			last = change(i)
		}
		reach(b, feed, last)
		b.ReportMetric(float64(line.toClients.Load()-down)/changes, "B/change")
	}
}
