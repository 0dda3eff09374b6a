package fleet

import (
	"bytes"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow/cmd/internal/fleet/fleettest"
)

// spoiler sends headers that nobody can read.
type spoiler struct{ net.Conn }

func (spoiler) Dial(network, addr string) (net.Conn, error) {
	c, err := net.Dial(network, addr)
	return spoiler{c}, err
}

func (s spoiler) Write(b []byte) (int, error) {
	return s.Conn.Write(bytes.ReplaceAll(b, []byte("X-Spoiled:"), []byte("X Spoiled;")))
}

// What a gateway sends is a message, whatever word of the server's it looks like:
// each is put aside, the pull goes on, and the others' records come at once.
func TestMessagesThatLookLikeStatus(t *testing.T) {
	t.Parallel()
	n := fleettest.Start(t)
	l := link(t, n)
	g := openLog(t, l)
	sink, err := NewSink(link(t, n), "victim")
	require.NoError(t, err)
	fleettest.Eventually(t, func() bool { return sink.Append(within(t), numbered(1, 0, 5)) == nil }, func() string { return "the stream is not there" })
	g.has(5)
	nc, err := nats.Connect(n.URL(), nats.SetCustomDialer(spoiler{}))
	require.NoError(t, err)
	defer nc.Close()

	sent := uint64(0)
	for _, status := range []string{"", "100", "200", "400", "404", "408", "409", "412", "423", "503", "x"} {
		for _, text := range []string{
			"", "Consumer Deleted", "Consumer is push based", "Leadership Change", "Server Shutdown", "Batch Completed", "Message Size Exceeds MaxBytes",
			"Exceeded MaxWaiting", "Bad Request", "No Messages", "Idle Heartbeat", "FlowControl Request",
		} {
			m := nats.NewMsg("ipallow.usage.hostile")
			for name, value := range map[string]string{
				"Status": status, "Description": text, "Nats-Consumer-Stalled": "ipallow.stolen", "Nats-Pending-Messages": "128", "Nats-Pending-Bytes": "1",
				"Nats-Last-Consumer": "1000", "Nats-Last-Stream": "1000", "Nats-Pin-Id": "x", "X-Spoiled": "x",
			} {
				if value != "" && (name != "X-Spoiled" || sent%5 == 0) {
					m.Header.Set(name, value)
				}
			}
			_, err := nc.RequestMsg(m, 10*time.Second)
			require.NoError(t, err)
			sent++
		}
	}
	began := time.Now()
	require.NoError(t, sink.Append(within(t), numbered(1, 5, 5)))
	g.has(10)
	require.Less(t, time.Since(began), 10*time.Second)
	fleettest.Eventually(t, func() bool { return g.drain.Status().Damaged == sent }, func() string {
		return fmt.Sprintf("%d were sent: %+v", sent, g.drain.Status())
	})
	require.NoError(t, g.drain.Status().Err)
	g.empty(l.js)
}

// What the server says of a request is heeded: it is made again when it has
// ended, and a consumer that is gone is made again.
func TestPullGoesOn(t *testing.T) {
	t.Parallel()
	n := fleettest.Start(t)
	l := link(t, n)
	g := openLog(t, l)
	sink, err := NewSink(link(t, n), "gate")
	require.NoError(t, err)
	fleettest.Eventually(t, func() bool { return sink.Append(within(t), numbered(1, 0, 5)) == nil }, func() string { return "the stream is not there" })
	g.has(5)
	js := n.JetStream()
	stream, err := js.Stream(within(t), "ipallow_usage")
	require.NoError(t, err)
	cons, err := stream.Consumer(within(t), "management-test")
	require.NoError(t, err)
	require.NoError(t, stream.DeleteConsumer(within(t), cons.CachedInfo().Name))
	require.NoError(t, sink.Append(within(t), numbered(1, 5, 5)))
	g.has(10)
	// Many more than one request brings.
	for i := range 3 * drainMessages {
		require.NoError(t, sink.Append(within(t), numbered(1, 10+i, 1)))
	}
	g.has(10 + 3*drainMessages)

	// A message that is not the consumer's ends it.
	p, err := newPull(l.nc, "ipallow_usage", "management-test")
	require.NoError(t, err)
	defer p.stop()
	for _, m := range []*nats.Msg{
		{Reply: "$JS.ACK.ipallow_usage.other.1.1.1.1.0"}, {Reply: "$JS.ACK.other.management-test.1.1.1.1.0"}, {Reply: "_INBOX.x"},
	} {
		m.Sub = p.sub
		_, err := p.look(m)
		require.ErrorContains(t, err, "not of consumer")
	}
	for status, want := range map[string]string{"503": "503", "409": "Consumer Deleted", "400": "400"} {
		_, err := p.look(&nats.Msg{Subject: p.reply, Header: nats.Header{"Status": {status}, "Description": {"Consumer Deleted"}}})
		require.ErrorContains(t, err, want)
		_, err = p.look(&nats.Msg{Subject: p.inbox + ".0", Header: nats.Header{"Status": {status}}})
		require.NoError(t, err, "of an earlier request")
	}
	require.Equal(t, drainMessages, p.left)
	_, err = p.look(&nats.Msg{Subject: p.reply, Header: nats.Header{"Status": {"408"}}})
	require.NoError(t, err)
	require.Zero(t, p.left)
}
