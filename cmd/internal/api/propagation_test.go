package api

import (
	"context"
	"encoding/json"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow/cmd/internal/fleet"
)

// inForceHere is what a server without a fleet says of a change.
var inForceHere = &propagationView{InForce: true, Published: true, Waiting: []string{}, Nodes: []standView{}}

// Each change says where it is in force, and by its status whether that is
// everywhere.
func TestPropagation(t *testing.T) {
	w := newWorld(t)
	id := w.create("a", "203.0.113.0/24").ID
	path := "/api/v1/keys/" + id
	var got propagationView
	w.get(path+"/propagation").ok(200, &got)
	require.Equal(t, *inForceHere, got)

	var waited time.Duration
	var asked string
	heard := time.Now().Add(-time.Minute)
	p := fleet.Propagation{
		Fleet: true, Published: true, Revision: 7, Reason: "Not confirmed by b.",
		Nodes: []fleet.Stand{
			{Node: fleet.Node{Report: fleet.Report{Name: "a", Role: fleet.Gateway, Revision: 7, Ready: true}, Heard: time.Now()}, InForce: true},
			{Node: fleet.Node{Report: fleet.Report{Name: "b", Role: fleet.Gateway, Revision: 6}, Heard: heard}, Reason: "too many"},
			{Node: fleet.Node{Report: fleet.Report{Name: "c", Role: fleet.Gateway}}},
		},
	}
	w.handler.propagate = func(_ context.Context, id string, wait time.Duration) fleet.Propagation {
		asked, waited = id, wait
		return p
	}
	w.get(path+"/propagation?wait=2s").ok(200, &got)
	require.Equal(t, id, asked)
	require.Equal(t, 2*time.Second, waited)
	require.Equal(t, []string{"b", "c"}, got.Waiting)
	require.Equal(t, "Not confirmed by b.", got.Reason)
	require.True(t, got.Nodes[0].InForce)
	require.Equal(t, fleet.StateSilent, got.Nodes[1].State)
	require.Equal(t, "too many", got.Nodes[1].Reason)
	require.Nil(t, got.Nodes[2].Heard)
	w.get(path+"/propagation").ok(200, &got)
	require.Zero(t, waited)

	n := 0
	for _, everywhere := range []bool{false, true} {
		p.InForce = everywhere
		for _, o := range operations(t, with("202")) {
			n++
			for query, want := range map[string]time.Duration{"": time.Second, "?wait=0s": 0, "?wait=10s": 10 * time.Second} {
				c := o.call(t, w.create("a", "203.0.113.0/24").ID)
				c.path += query
				status := 202
				if everywhere {
					status = 200
				}
				var k struct{ Propagation *propagationView }
				require.NoError(t, json.Unmarshal([]byte(w.do(c).ok(status, nil).text), &k))
				require.Equal(t, everywhere, k.Propagation.InForce)
				require.EqualValues(t, 7, k.Propagation.Revision)
				require.Equal(t, want, waited)
			}
		}
	}
	require.Equal(t, 8, n)
	for _, bad := range []string{"1", "-1s", "11s", "soon", "1h"} {
		e := w.get(path+"/propagation?wait="+url.QueryEscape(bad)).fails(400, "INVALID_QUERY")
		require.Equal(t, "wait", e.Parameter)
		w.do(call{method: "DELETE", path: path + "?wait=" + bad}).fails(400, "INVALID_QUERY")
	}
	k, err := w.service.Key(t.Context(), id)
	require.NoError(t, err)
	require.True(t, k.Active(), "a request that is refused changes nothing")
}
