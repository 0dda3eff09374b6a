package fleetconf

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow/cmd/internal/fleet/fleettest"
)

// resident returns how many bytes of memory a process has.
func resident(t testing.TB, p *fleettest.Process) int64 {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(p.Pid()), "status"))
	require.NoError(t, err)
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == "VmRSS:" {
			n, err := strconv.ParseInt(f[1], 10, 64)
			require.NoError(t, err)
			return n << 10
		}
	}
	require.Fail(t, "no VmRSS in /proc")
	return 0
}

// A deaf connection reads nothing once it is told so.
type deaf struct {
	net.Conn
	now atomic.Bool
}

func (d *deaf) Dial(network, addr string) (_ net.Conn, err error) {
	d.Conn, err = net.Dial(network, addr)
	return d, err
}

func (d *deaf) Read(b []byte) (int, error) {
	for d.now.Load() {
		if err := d.Conn.SetReadDeadline(time.Now().Add(10 * time.Millisecond)); err != nil {
			return 0, err
		}
		time.Sleep(10 * time.Millisecond)
	}
	_ = d.Conn.SetReadDeadline(time.Time{}) // or the next read fails
	return d.Conn.Read(b)
}

// TestMemory: what a gateway sends as fast as it can takes little of the server's
// memory. With one account a gateway, messages of 320 KiB, and message IDs and requests
// that were kept for 30 and 45 s, 8 s of the first three took 0.6, 0.8 and 2.9 GB.
func TestMemory(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1, "victim", "hostile")
	victim, hostile := w.gateway("victim"), w.gateway("hostile")
	hostile.stop()
	const (
		next  = "ipallow.api.CONSUMER.MSG.NEXT." + keysStream + ".hostile"
		reset = "ipallow.api.CONSUMER.RESET." + keysStream + ".hostile"
		usage = "ipallow.usage.hostile"
		node  = "$KV.ipallow_nodes.gateway.hostile"
	)
	longest := func(nc *nats.Conn) string { return strings.Repeat("x", int(nc.MaxPayload())-200) }
	id := func(nc *nats.Conn, conn, n int) nats.Header {
		return nats.Header{"Nats-Msg-Id": {fmt.Sprintf("%d-%d-%s", conn, n, longest(nc))}}
	}
	for _, attack := range []struct {
		name    string
		records bool
		deaf    bool
		message func(nc *nats.Conn, conn, n int) *nats.Msg
	}{
		{"message IDs of usage records", true, false, func(nc *nats.Conn, conn, n int) *nats.Msg {
			return &nats.Msg{Subject: usage, Header: id(nc, conn, n)}
		}},
		{"message IDs of reports", true, false, func(nc *nats.Conn, conn, n int) *nats.Msg {
			return &nats.Msg{Subject: node, Header: id(nc, conn, n)}
		}},
		{"long requests", false, false, func(nc *nats.Conn, conn, n int) *nats.Msg {
			return &nats.Msg{Subject: next, Reply: nc.NewInbox(), Data: []byte(`{"batch":1,"x":"` + longest(nc) + `"}`)}
		}},
		{"requests that wait", false, false, func(nc *nats.Conn, conn, n int) *nats.Msg {
			return &nats.Msg{Subject: next, Reply: nc.NewInbox(), Data: []byte(`{"batch":1,"expires":30000000000,"idle_heartbeat":1000000000}`)}
		}},
		{"usage records", true, false, func(nc *nats.Conn, conn, n int) *nats.Msg {
			return &nats.Msg{Subject: usage, Reply: nc.NewInbox(), Data: []byte(longest(nc))}
		}},
		{"answers that are not read", false, true, func(nc *nats.Conn, conn, n int) *nats.Msg {
			return &nats.Msg{Subject: reset, Reply: nc.NewInbox(), Data: []byte(`{"seq":1}`)}
		}},
	} {
		w.nats[0].Kill() // what the last attack left is not this one's
		w.nats[0].Start()
		before := resident(t, w.nats[0])
		quit, most := make(chan struct{}), int64(0)
		var senders sync.WaitGroup
		var sent atomic.Int64
		for conn := range 4 {
			d := new(deaf)
			opts := []nats.Option{nats.SetCustomDialer(d)}
			nc := w.recordsConn
			if !attack.records {
				nc = w.conn
			}
			c := nc("hostile", opts...)
			if attack.deaf {
				_, err := c.SubscribeSync(c.NewInbox() + ".x")
				require.NoError(t, err)
				require.NoError(t, c.Flush())
				d.now.Store(true)
			}
			senders.Go(func() {
				defer c.Close()
				defer d.now.Store(false)
				for n := 0; ; n++ {
					select {
					case <-quit:
						return
					default:
					}
					if c.PublishMsg(attack.message(c, conn, n)) == nil {
						sent.Add(1)
					} else {
						time.Sleep(time.Millisecond) // it was cut off
					}
				}
			})
		}
		for range 20 {
			time.Sleep(100 * time.Millisecond)
			most = max(most, resident(t, w.nats[0]))
		}
		close(quit)
		senders.Wait()
		t.Logf("%s: %d in 2 s; the server had %d MB before and %d MB at most", attack.name, sent.Load(), before>>20, most>>20)
		require.Greater(t, sent.Load(), int64(200), "this is no flood")
		require.Less(t, most, int64(400<<20), attack.name)
	}
	victim.send(records(1, 0, 5, "/afterwards"))
	w.has("/afterwards", 5)
}
