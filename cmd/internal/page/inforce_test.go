package page

import (
	"context"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow/cmd/internal/fleet"
	"github.com/ipallow/ipallow/cmd/internal/manage"
)

// A change says which gateways have it in force, and the page of the key says so
// again when it is asked.
func TestInForce(t *testing.T) {
	require.Equal(t, http.StatusNotFound, func() int {
		r := newRig(t)
		return r.browser(true).login().get("/keys/" + r.create("x").Key.ID + "/in-force").StatusCode
	}(), "there is no fleet")

	at := fleet.Propagation{Fleet: true, InForce: true, Published: true, Revision: 7}
	var waits []time.Duration
	r := newRig(t, func(o *Options, _ *manage.Options) {
		o.Propagation = func(_ context.Context, _ string, wait time.Duration) fleet.Propagation {
			waits = append(waits, wait)
			return at
		}
	})
	b := r.browser(true).login()
	k := r.create("billing", "203.0.113.0/24")
	page := "/keys/" + k.Key.ID + "/in-force"
	require.Contains(t, b.get("/keys/"+k.Key.ID+"/edit").body, `<a href="`+page+`">In force</a>`)
	require.Contains(t, b.get(page).body, "On this server.")
	at.Nodes = []fleet.Stand{{Node: fleet.Node{Report: fleet.Report{Name: "gate-1", Ready: true, Revision: 7}, Heard: r.clock.now()}, InForce: true}}
	a := b.get(page)
	require.Contains(t, a.body, "On this server and on the gateway.")
	require.Contains(t, a.body, `href="`+page+`">Refresh</a>`)
	require.Equal(t, []time.Duration{0, 0}, waits, "to look waits for nobody")

	at.InForce, at.Reason = false, "Not confirmed by gate\u202e<2>."
	at.Nodes = append(at.Nodes, fleet.Stand{
		Node: fleet.Node{Report: fleet.Report{Name: "gate\u202e<2>", Revision: 6}}, Reason: "it cannot <use> it",
	})
	for _, step := range []struct{ path, says string }{
		{"/rotate", "The former secret is refused here."},
		{"/edit", "is saved"},
		{"/revoke", "is revoked"},
	} {
		waits = nil
		form := url.Values{}
		if step.path == "/edit" {
			form = url.Values{"name": {"billing"}, "scope": {"read"}, "description": {"other"}}
		}
		a := b.post("/keys/"+k.Key.ID+step.path, form)
		require.Equal(t, http.StatusOK, a.StatusCode, a.body)
		require.Contains(t, a.body, step.says)
		require.Contains(t, a.body, "Not in force on every gateway yet. Not confirmed by gate[U&#43;202E]&lt;2&gt;.")
		require.Equal(t, confirmWait, waits[0])
	}
	a = b.get(page)
	for _, want := range []string{"not on every gateway yet", "Not yet", "It cannot &lt;use&gt; it.", "revision 6 of 7", "silent", "not since the management node started"} {
		require.Contains(t, a.body, want)
	}
}
