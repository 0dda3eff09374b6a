package page

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow/cmd/internal/fleet"
	"github.com/ipallow/ipallow/cmd/internal/manage"
)

func TestNodes(t *testing.T) {
	r := newRig(t)
	b := r.browser(true).login()
	require.Equal(t, http.StatusNotFound, b.get("/nodes").StatusCode, "there is no fleet")
	require.NotContains(t, b.get("/keys").body, "/nodes")

	view := fleet.View{Connected: true, Publisher: fleet.PublisherStatus{Revision: 1042}}
	r = newRig(t, func(o *Options, _ *manage.Options) { o.Fleet = func(context.Context) fleet.View { return view } })
	require.Equal(t, "/login", r.browser(true).get("/nodes").Request.URL.Path)
	b = r.browser(true).login()
	require.Contains(t, b.get("/keys").body, `<a href="/nodes">Nodes</a>`)
	a := b.get("/nodes")
	require.Contains(t, a.body, `<a href="/nodes" aria-current="page">Nodes</a>`)
	require.Contains(t, a.body, "No gateway has reported yet")
	require.NotContains(t, a.body, `class="note`)

	now := r.clock.now()
	view.Rival, view.Usage.Damaged = "other <b>", 1234
	view.Publisher.Outbox, view.Publisher.Oldest, view.Publisher.Err = 2, now.Add(-3*time.Minute), errors.New("the bucket is full")
	view.Nodes = []fleet.Node{
		{Report: fleet.Report{Name: "home", Role: fleet.Management, Ready: true, Revision: 1042, Listen: "http://10.0.0.1:8080", Staleness: fleet.Millis(0)}, Heard: now},
		{Report: fleet.Report{Name: "gate\u202e<1>", Role: fleet.Gateway, Ready: true, Revision: 1040, Keys: 31, Limited: 29, Staleness: fleet.Millis(900 * time.Millisecond)}, Heard: now.Add(-2 * time.Second)},
		{Report: fleet.Report{Name: "stale", Role: fleet.Gateway, Source: "checkpoint", Reason: "natsfeed: the lists may be out of date", Faults: 3, Missing: 2, Backlog: 3,
			Faulty: []fleet.Fault{{Key: "4kq2m7xw3n5tzr6c", Closed: true, Reason: "its checksum <is> wrong"}, {Key: "4kq2m7xw3n5tzr6d", Reason: "too many."}}}, Heard: now.Add(-2 * time.Second), Twice: true},
		{Report: fleet.Report{Name: "dead", Role: fleet.Gateway, Ready: true}, Heard: now.Add(-3 * time.Minute)},
		{Report: fleet.Report{Name: "old", Role: fleet.Gateway, Ready: true}},
	}
	a = b.get("/nodes")
	rows := strings.Split(a.body, `<tr role="row">`)[2:]
	require.Len(t, rows, 5)
	for i, want := range [][]string{
		{"home", "management, http://10.0.0.1:8080", "Ready", "1042", "the database"},
		{"gate[U&#43;202E]&lt;1&gt;", "Ready", "1040", "2 changes behind", "at most 1 s old", "31", "29 with a list", "2 s ago"},
		{"Not ready", "The lists may be out of date.", "checkpoint file", "3 keys have values in the bucket that this node cannot use", "4kq2m7xw3n5tzr6c: its checksum &lt;is&gt; wrong (nobody is served with it).",
			"4kq2m7xw3n5tzr6d: too many (its former list stays in force).", "1 more.", "2 keys have disappeared", "3 usage records", "--name", "age not known"},
		{"Silent", "3 min ago"},
		{"Silent", "not since the management node started"},
	} {
		for _, text := range want {
			require.Contains(t, rows[i], text)
		}
	}
	for _, text := range []string{
		"another management node in this fleet: other &lt;b&gt;", "2 changes wait to be published, the oldest for 3 min", "The bucket is full.", "1,234 messages",
	} {
		require.Contains(t, a.body, text)
	}
	require.NotContains(t, a.body, "No gateway has reported yet")
	view.Connected = false
	require.Contains(t, b.get("/nodes").body, "NATS cannot be reached")
}

// A silent node can be removed by its button, once.
func TestRemoveNode(t *testing.T) {
	var removed []string
	r := newRig(t, func(o *Options, _ *manage.Options) {
		o.Fleet = func(context.Context) fleet.View {
			return fleet.View{Nodes: []fleet.Node{
				{Report: fleet.Report{Name: "dead <b>", Role: fleet.Gateway}},
				{Report: fleet.Report{Name: "alive", Role: fleet.Gateway, Ready: true}, Heard: o.Now()},
			}}
		}
		o.RemoveNode = func(_ context.Context, name string) error {
			removed = append(removed, name)
			return map[string]error{"alive": fleet.ErrNodeAlive, "none": fleet.ErrNoNode}[name]
		}
	})
	b := r.browser(true).login()
	a := b.get("/nodes")
	require.Equal(t, 1, strings.Count(a.body, `action="/nodes/remove"`), "only what is silent")
	require.Contains(t, a.body, `name="name" value="dead &lt;b&gt;"`)
	for name, says := range map[string]string{"dead <b>": "dead &lt;b&gt; is removed", "alive": "still reports", "none": "no node none any more"} {
		a := b.post("/nodes/remove", url.Values{"name": {name}})
		require.Equal(t, "/nodes", a.Request.URL.Path)
		require.Contains(t, a.body, says)
	}
	require.Len(t, removed, 3)
	a = b.get("/audit")
	require.Contains(t, a.body, "Node removed: ")
	require.Contains(t, a.body, "dead &lt;b&gt;")
	require.NotContains(t, a.body, "still reports")
}
