package fleetconf

import (
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"
)

// TestHeartbeats: requests that wait, and ask for a heartbeat each nanosecond, cost a gateway
// nothing more. With the 512 that NATS lets wait at a consumer, the server's memory grew by
// 60 MB a second, and no other gateway heard of a change any more.
func TestHeartbeats(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1, "victim", "hostile")
	victim, hostile := w.gateway("victim"), w.gateway("hostile")
	hostile.stop()
	key := victim.create()
	nc := w.conn("hostile")
	heartbeats, err := nc.SubscribeSync("_INBOX.x.>")
	require.NoError(t, err)
	require.NoError(t, heartbeats.SetPendingLimits(-1, -1))
	for _, consumer := range []string{"hostile", "hostile=check"} {
		_, err := nc.Request("ipallow.api.CONSUMER.RESET."+keysStream+"."+consumer, []byte(`{"seq":1000000}`), 10*time.Second)
		require.NoError(t, err)
		for i := range 512 {
			require.NoError(t, nc.PublishMsg(&nats.Msg{
				Subject: "ipallow.api.CONSUMER.MSG.NEXT." + keysStream + "." + consumer, Reply: fmt.Sprint("_INBOX.x.", consumer, i),
				Data: []byte(`{"batch":1,"expires":3600000000000,"idle_heartbeat":1}`),
			}))
		}
	}
	require.NoError(t, nc.Flush())
	for range 100 {
		_, err := heartbeats.NextMsg(10 * time.Second)
		require.NoError(t, err, "there are no heartbeats: the test shows nothing")
	}
	time.Sleep(2 * time.Second) // in which the server's memory grew
	require.Less(t, victim.revoke(key.Key.ID), 10*time.Second)
	require.Less(t, resident(t, w.nats[0]), int64(100<<20))
}
