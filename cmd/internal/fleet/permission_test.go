package fleet

import (
	"context"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow/cmd/internal/fleet/fleettest"
	"github.com/ipallow/ipallow/natsfeed"
)

// What a gateway must be allowed stands in docs/fleet.md. It cannot write keys,
// nor for another node.
func TestPermissions(t *testing.T) {
	t.Parallel()
	api := func(what string) string { return "$JS.API." + what + ".KV_ipallow_keys" }
	n := fleettest.Start(t, &server.User{Username: "home", Password: "h"}, &server.User{Username: "gate", Password: "g", Permissions: &server.Permissions{
		Publish: &server.SubjectPermission{Allow: []string{
			api("STREAM.INFO"), api("STREAM.MSG.GET"), api("CONSUMER.CREATE") + ".>", api("CONSUMER.MSG.NEXT") + ".>", api("CONSUMER.DELETE") + ".>",
			"ipallow.usage.gate", "$JS.API.STREAM.INFO.KV_ipallow_nodes", "$KV.ipallow_nodes.gateway.gate",
		}},
		Subscribe: &server.SubjectPermission{Allow: []string{"_INBOX.>"}},
	}})
	as := func(user, password string) func(*Config) {
		return func(c *Config) { c.URLs = []string{n.As(user, password)} }
	}
	home, gateLink := link(t, n, as("home", "h")), link(t, n, as("gate", "g"))
	h := openHome(t, home)
	a := h.create("203.0.113.1")
	usage := openLog(t, home)
	reg := NewRegistry(home)
	t.Cleanup(reg.Close)
	g := openGate(t, link(t, n, as("gate", "g")))
	g.same(h)
	sink, err := NewSink(gateLink, "gate")
	require.NoError(t, err)
	fleettest.Eventually(t, func() bool { return sink.Append(within(t), numbered(1, 0, 3)) == nil }, func() string { return "no stream" })
	usage.has(3)
	reporter(t, gateLink, Report{Name: "gate", Role: Gateway, Ready: true})
	fleettest.Eventually(t, func() bool { return len(reg.Nodes()) == 1 }, func() string { return "no report" })

	kv, err := gateLink.js.KeyValue(within(t), "ipallow_keys")
	require.NoError(t, err)
	short, cancel := context.WithTimeout(within(t), 200*time.Millisecond)
	defer cancel()
	_, err = natsfeed.Publish(short, kv, a.Key.ID, nil, nil)
	require.Error(t, err)
	g.same(h)
}
