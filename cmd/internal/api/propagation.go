package api

import (
	"context"
	"net/http"
	"time"

	"github.com/ipallow/ipallow/cmd/internal/fleet"
)

// A change waits for the gateways this long unless the request says otherwise,
// and at most.
const (
	usualWait = time.Second
	maxWait   = 10 * time.Second
)

// A propagationView says where a key's last change is in force.
type propagationView struct {
	Fleet     bool        `json:"fleet"`
	InForce   bool        `json:"in_force"`
	Published bool        `json:"published"`
	Revision  uint64      `json:"revision"`
	Reason    string      `json:"reason"`
	Waiting   []string    `json:"waiting_for"`
	Nodes     []standView `json:"nodes"`
}

// A standView says whether it is in force on one gateway.
type standView struct {
	Name     string      `json:"name"`
	State    fleet.State `json:"state"`
	Revision uint64      `json:"revision"`
	InForce  bool        `json:"in_force"`
	Reason   string      `json:"reason"`
	Heard    *int64      `json:"heard_ms"`
}

// A propagator says where the last change of a key is in force, and waits for it a
// while. *fleet.Center.Propagation is one.
type propagator func(ctx context.Context, id string, wait time.Duration) fleet.Propagation

// propagation returns the state of a key's last change. Without a fleet it is in
// force when it is stored.
func (h *handler) propagation(ctx context.Context, id string, wait time.Duration) propagationView {
	if h.propagate == nil {
		return propagationView{InForce: true, Published: true, Waiting: []string{}, Nodes: []standView{}}
	}
	p := h.propagate(ctx, id, wait)
	v := propagationView{
		Fleet: p.Fleet, InForce: p.InForce, Published: p.Published, Revision: p.Revision, Reason: p.Reason,
		Waiting: p.Waiting(), Nodes: make([]standView, len(p.Nodes)),
	}
	now := time.Now()
	for i := range p.Nodes {
		n := &p.Nodes[i]
		v.Nodes[i] = standView{n.Name, n.State(now), n.Revision, n.InForce, n.Reason, heard(&n.Node, now)}
	}
	return v
}

// heard returns how long ago a node reported, in milliseconds.
func heard(n *fleet.Node, now time.Time) *int64 {
	if n.Heard.IsZero() {
		return nil
	}
	return fleet.Millis(max(0, now.Sub(n.Heard)))
}

// changed answers a change of a key: 200 if it is in force everywhere, 202 if it
// is stored and not in force on every gateway yet. Make returns the body.
func (h *handler) changed(w http.ResponseWriter, r *http.Request, id string, wait time.Duration, body func(*propagationView) any) {
	p := h.propagation(r.Context(), id, wait)
	status := http.StatusOK
	if !p.InForce {
		status = http.StatusAccepted
	}
	writeJSON(w, status, body(&p))
}

// changing reads the key's identifier and how long the answer may wait, on a
// route that changes a key. It is plain, with the parameter wait.
func changing(r *http.Request, etags bool) (id string, wait time.Duration, err error) {
	q := parseQuery(r, "wait")
	wait = q.wait("wait", usualWait)
	if q.err != nil {
		return "", 0, q.err
	}
	if err := noPrecondition(r, etags); err != nil {
		return "", 0, err
	}
	id, err = keyID(r)
	return id, wait, err
}

// wait returns a duration up to maxWait, or usual if there is none.
func (q *query) wait(name string, usual time.Duration) time.Duration {
	s := q.text(name)
	if s == "" {
		return usual
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 || d > maxWait {
		q.fail(name, "%s is %s, but must be a duration from 0s to %v, such as 500ms or 2s.", name, q.shown(name), maxWait)
		return 0
	}
	return d
}

// getPropagation says where the last change of a key is in force.
func (h *handler) getPropagation(w http.ResponseWriter, r *http.Request) error {
	q := parseQuery(r, "wait")
	wait := q.wait("wait", 0)
	if q.err != nil {
		return q.err
	}
	id, err := keyID(r)
	if err != nil {
		return err
	}
	if _, err := h.manager.Key(r.Context(), id); err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, h.propagation(r.Context(), id, wait))
	return nil
}
