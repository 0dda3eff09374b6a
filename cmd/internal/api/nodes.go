package api

import (
	"net/http"
	"time"

	"github.com/ipallow/ipallow/cmd/internal/fleet"
)

// A nodeView is a node of the fleet in answers.
type nodeView struct {
	Name      string      `json:"name"`
	Role      fleet.Role  `json:"role"`
	State     fleet.State `json:"state"`
	Instance  string      `json:"instance"`
	Version   string      `json:"version"`
	Started   time.Time   `json:"started_at"`
	Listen    string      `json:"listen"`
	Revision  uint64      `json:"revision"`
	Lag       uint64      `json:"lag"`
	Staleness *int64      `json:"staleness_ms"`
	Source    string      `json:"source"`
	Connected bool        `json:"connected"`
	Ready     bool        `json:"ready"`
	Reason    string      `json:"reason"`
	Keys      int         `json:"keys"`
	Limited   int         `json:"restricted"`
	Backlog   uint64      `json:"usage_backlog"`
	Faults    int         `json:"faults"`
	Faulty    []faultView `json:"faulty"`
	Missing   int         `json:"missing"`
	Heard     *int64      `json:"heard_ms"`
	Twice     bool        `json:"twice"`
}

// A faultView is a key whose value a node cannot use as it is.
type faultView struct {
	Key      string `json:"key_id"`
	Revision uint64 `json:"revision"`
	Closed   bool   `json:"closed"`
	Reason   string `json:"reason"`
}

func viewFaults(faults []fleet.Fault) []faultView {
	views := make([]faultView, len(faults))
	for i, f := range faults {
		views[i] = faultView(f)
	}
	return views
}

type publisherView struct {
	InStep    bool   `json:"in_step"`
	Outbox    int    `json:"outbox"`
	Oldest    int64  `json:"oldest_ms"`
	Published uint64 `json:"published"`
	Conflicts uint64 `json:"conflicts"`
	Epoch     uint64 `json:"epoch"`
	Fenced    string `json:"fenced"`
	Error     string `json:"error"`
}

type usageView struct {
	Records uint64 `json:"records"`
	Waiting uint64 `json:"waiting"`
	Damaged uint64 `json:"damaged"`
	Error   string `json:"error"`
}

type fleetView struct {
	Fleet     bool          `json:"fleet"`
	Bucket    string        `json:"bucket"`
	Connected bool          `json:"connected"`
	Newest    uint64        `json:"newest_revision"`
	Rival     string        `json:"rival"`
	Publisher publisherView `json:"publisher"`
	Usage     usageView     `json:"usage"`
	Nodes     []nodeView    `json:"nodes"`
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// listNodes tells how the fleet is. Ages are by this server's clock alone.
func (h *handler) listNodes(w http.ResponseWriter, r *http.Request) error {
	if q := parseQuery(r); q.err != nil {
		return q.err
	}
	view := fleetView{Nodes: []nodeView{}}
	if h.fleet != nil {
		v := h.fleet(r.Context())
		view = viewFleet(&v, time.Now())
	}
	writeJSON(w, http.StatusOK, view)
	return nil
}

func viewFleet(v *fleet.View, now time.Time) fleetView {
	p, u := &v.Publisher, &v.Usage
	view := fleetView{
		Fleet: true, Bucket: v.Bucket, Connected: v.Connected, Newest: p.Revision, Rival: v.Rival,
		Publisher: publisherView{
			InStep: p.InStep, Outbox: p.Outbox, Published: p.Published, Conflicts: p.Conflicts,
			Epoch: p.Epoch, Fenced: p.Fenced, Error: text(p.Err),
		},
		Usage: usageView{Records: u.Records, Waiting: u.Waiting, Damaged: u.Damaged, Error: text(u.Err)},
		Nodes: make([]nodeView, len(v.Nodes)),
	}
	if !p.Oldest.IsZero() {
		view.Publisher.Oldest = max(0, now.Sub(p.Oldest).Milliseconds())
	}
	for i := range v.Nodes {
		n := &v.Nodes[i]
		view.Nodes[i] = nodeView{
			Name: n.Name, Role: n.Role, State: n.State(now), Instance: n.Instance, Version: n.Version, Started: n.Started.UTC(),
			Listen: n.Listen, Revision: n.Revision, Lag: v.Lag(n), Staleness: n.Staleness, Source: n.Source, Connected: n.Connected,
			Ready: n.Ready, Reason: n.Reason, Keys: n.Keys, Limited: n.Limited, Backlog: n.Backlog, Faults: n.Faults, Faulty: viewFaults(n.Faulty),
			Missing: n.Missing, Heard: heard(n, now), Twice: n.Twice,
		}
	}
	return view
}

// deleteNode takes a node that is no more off the list.
func (h *handler) deleteNode(w http.ResponseWriter, r *http.Request) error {
	if q := parseQuery(r); q.err != nil {
		return q.err
	}
	if err := noPrecondition(r, false); err != nil {
		return err
	}
	err := fleet.ErrNoNode
	if h.removeNode != nil {
		err = h.removeNode(r.Context(), r.PathValue("name"))
	}
	if err == nil {
		err = h.manager.NodeRemoved(r.Context(), h.actor(r), r.PathValue("name"))
	}
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
