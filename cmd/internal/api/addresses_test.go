package api

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow"
	"github.com/ipallow/ipallow/usagelog"
)

func TestAddresses(t *testing.T) {
	w := newWorld(t)
	id := w.create("a").ID
	w.served(id, "203.0.113.5", time.Hour)
	w.served(id, "203.0.113.5", 2*time.Hour)
	w.served(id, "192.0.2.50", 3*time.Hour)
	w.served(id, "192.0.2.200", 8*24*time.Hour) // long ago
	for range 5 {
		w.record(usagelog.Record{
			Time: time.Now().Add(-time.Hour), KeyID: id, Method: "GET", Path: "/", Status: 403,
			ClientAddr: netip.MustParseAddr("198.51.100.7"), Verdict: ipallow.Denied,
		})
	}
	var got struct {
		Since           time.Time
		Served, Blocked useView
	}
	w.do(call{method: "GET", path: "/api/v1/keys/" + id + "/addresses", by: "192.0.2.50"}).ok(200, &got)
	require.WithinDuration(t, time.Now().Add(-7*24*time.Hour), got.Since, time.Minute)
	require.Equal(t, []string{"203.0.113.5", "192.0.2.50"}, addressesOf(got.Served.Addresses))
	require.False(t, got.Served.Addresses[0].Caller)
	require.True(t, got.Served.Addresses[1].Caller)
	require.Equal(t, 2, got.Served.AddressesTotal)
	require.EqualValues(t, 3, got.Served.RequestsTotal)
	require.Equal(t, useView{
		Addresses:      []seenAddress{{Address: netip.MustParseAddr("198.51.100.7"), Blocked: 5}},
		AddressesTotal: 1, RequestsTotal: 5,
	}, got.Blocked)

	// A key that nobody used has empty lists, not null.
	require.Contains(t, w.get("/api/v1/keys/"+w.create("b").ID+"/addresses").text, `"served":{"addresses":[],`)
}
