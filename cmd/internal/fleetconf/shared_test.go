package fleetconf

import (
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow/cmd/internal/fleet/fleettest"
)

// TestSharedAccount is why gateways have accounts of their own: in the account of
// the bucket, the rights that a gateway cannot do without are rights to change the
// bucket and to listen to the others. It fails when a NATS server checks more than
// it does now, and the set-up can be simpler.
func TestSharedAccount(t *testing.T) {
	t.Parallel()
	api := func(what string) string { return "$JS.API." + what + "." + keysStream }
	n := fleettest.Start(t, &server.User{Username: "home", Password: "h"}, &server.User{Username: "gate", Password: "g", Permissions: &server.Permissions{
		Publish: &server.SubjectPermission{Allow: []string{
			api("STREAM.INFO"), api("STREAM.MSG.GET"), api("CONSUMER.CREATE") + ".>", api("CONSUMER.MSG.NEXT") + ".>", api("CONSUMER.DELETE") + ".>", "ipallow.usage.gate",
		}},
		Subscribe: &server.SubjectPermission{Allow: []string{"_INBOX.>"}},
	}})
	home, err := nats.Connect(n.As("home", "h"))
	require.NoError(t, err)
	defer home.Close()
	gate, err := nats.Connect(n.As("gate", "g"))
	require.NoError(t, err)
	defer gate.Close()
	js, err := jetstream.New(home)
	require.NoError(t, err)
	kv, err := js.CreateKeyValue(within(t), jetstream.KeyValueConfig{Bucket: "ipallow_keys"})
	require.NoError(t, err)
	_, err = kv.Put(within(t), "victim-key", []byte("the true list"))
	require.NoError(t, err)

	value := func(want string) {
		t.Helper()
		var got string
		fleettest.Eventually(t, func() bool {
			e, err := kv.Get(within(t), "victim-key")
			if err == nil {
				got = string(e.Value())
			}
			return err == nil && got != "the true list"
		}, func() string { return "the bucket still has the true list: NATS has become stricter" })
		require.Contains(t, got, want)
		_, err := kv.Put(within(t), "victim-key", []byte("the true list"))
		require.NoError(t, err)
	}
	// The answer to a request becomes the value of a key.
	require.NoError(t, gate.PublishRequest(api("STREAM.INFO"), "$KV.ipallow_keys.victim-key", nil))
	value("stream_info_response")
	// A message that a consumer delivers into the bucket is stored once more: an old
	// value as the newest one, or Confirm.
	rev, err := kv.Put(within(t), "other", []byte("an old list"))
	require.NoError(t, err)
	create := fmt.Sprintf(`{"stream_name":%q,"config":{"name":"trap","filter_subject":"$KV.ipallow_keys.other","ack_policy":"none","mem_storage":true,"inactive_threshold":60000000000}}`, keysStream)
	m, err := gate.Request(api("CONSUMER.CREATE")+".trap.$KV.ipallow_keys.other", []byte(create), 5*time.Second)
	require.NoError(t, err)
	require.Contains(t, string(m.Data), `"name":"trap"`)
	require.NoError(t, gate.PublishRequest(api("CONSUMER.MSG.NEXT")+".trap", "$KV.ipallow_keys.victim-key", []byte("1")))
	fleettest.Eventually(t, func() bool {
		e, err := kv.Get(within(t), "other")
		return err == nil && e.Revision() > rev
	}, func() string { return "nothing was stored again: NATS has become stricter" })
	// And inboxes of others can be listened to.
	heard := make(chan *nats.Msg, 100)
	_, err = gate.ChanSubscribe("_INBOX.>", heard)
	require.NoError(t, err)
	require.NoError(t, gate.Flush())
	_, err = kv.Get(within(t), "other")
	require.NoError(t, err)
	select {
	case <-heard:
	case <-time.After(time.Minute):
		require.Fail(t, "the answer to another's request was not heard: NATS has become stricter")
	}
}
