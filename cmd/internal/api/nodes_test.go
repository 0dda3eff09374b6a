package api

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow/cmd/internal/fleet"
)

func TestNodes(t *testing.T) {
	w := newWorld(t)
	var got fleetView
	w.get("/api/v1/nodes").ok(200, &got)
	require.Equal(t, fleetView{Nodes: []nodeView{}}, got)

	// The nodes' clocks are hours off, and one is not known to have a state.
	now := time.Now()
	view := fleet.View{
		Bucket: "ipallow_keys", Connected: true, Rival: "other",
		Publisher: fleet.PublisherStatus{Revision: 10, Outbox: 4, Waiting: 3, Oldest: now.Add(-time.Minute), Err: errors.New("no room")},
		Usage:     fleet.DrainStatus{Records: 7, Waiting: 1, Damaged: 2},
		Nodes: []fleet.Node{
			{Report: fleet.Report{Name: "home", Role: fleet.Management, Ready: true, Revision: 10, Staleness: fleet.Millis(0), Source: "database"}, Heard: now},
			{Report: fleet.Report{Name: "a", Role: fleet.Gateway, Ready: true, Revision: 8, Time: now.Add(-5 * time.Hour)}, Heard: now.Add(-time.Second), Twice: true},
			{Report: fleet.Report{Name: "b", Role: fleet.Gateway, Reason: "stale", Revision: 12, Time: now.Add(5 * time.Hour)}, Heard: now.Add(-2 * time.Second)},
			{Report: fleet.Report{Name: "c", Role: fleet.Gateway, Ready: true}, Heard: now.Add(-time.Minute)},
			{Report: fleet.Report{Name: "d", Role: fleet.Gateway, Ready: true, Faults: 2, Missing: 2, Backlog: 3,
				Faulty: []fleet.Fault{{Key: "4kq2m7xw3n5tzr6c", Revision: 7, Closed: true, Reason: "its checksum is wrong"}}}},
		},
	}
	w.handler.fleet = func(context.Context) fleet.View { return view }
	w.get("/api/v1/nodes").ok(200, &got)
	require.True(t, got.Fleet)
	require.Equal(t, "other", got.Rival)
	require.EqualValues(t, 10, got.Newest)
	require.Equal(t, "no room", got.Publisher.Error)
	require.InDelta(t, 60_000, got.Publisher.Oldest, 10_000)
	require.Len(t, got.Nodes, 5)
	for i, want := range []struct {
		state fleet.State
		lag   uint64
	}{{fleet.StateReady, 0}, {fleet.StateReady, 5}, {fleet.StateUnready, 3}, {fleet.StateSilent, 13}, {fleet.StateSilent, 13}} {
		require.Equal(t, want.state, got.Nodes[i].State, got.Nodes[i].Name)
		require.Equal(t, want.lag, got.Nodes[i].Lag, got.Nodes[i].Name)
	}
	require.Equal(t, []faultView{{"4kq2m7xw3n5tzr6c", 7, true, "its checksum is wrong"}}, got.Nodes[4].Faulty)
	require.Equal(t, []faultView{}, got.Nodes[1].Faulty)
	require.Nil(t, got.Nodes[4].Heard)
	require.Nil(t, got.Nodes[4].Staleness)
	require.InDelta(t, 1000, *got.Nodes[1].Heard, 10_000)
	require.True(t, got.Nodes[1].Twice)
}

// A node that is no more can be taken off the list, which the audit trail tells.
func TestRemoveNode(t *testing.T) {
	w := newWorld(t)
	del := func(name string) *answer { return w.do(call{method: "DELETE", path: "/api/v1/nodes/" + name}) }
	del("gate%202%2F%3Cb%3E").ok(204, nil)
	del("none").fails(404, "NO_NODE")
	del("alive").fails(409, "NODE_ALIVE")
	var page struct {
		Records []auditView `json:"records"`
		Next    string      `json:"next"`
	}
	w.get("/api/v1/audit").ok(200, &page)
	require.Len(t, page.Records, 1)
	rec := page.Records[0]
	require.EqualValues(t, "node.remove", rec.Action)
	require.Equal(t, "gate 2/<b>", rec.KeyName)
	require.Empty(t, rec.KeyID)
	require.Nil(t, rec.After)
	w.handler.removeNode = nil
	del("any").fails(404, "NO_NODE")
}
