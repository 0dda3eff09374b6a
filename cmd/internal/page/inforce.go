package page

import (
	"context"
	"net/http"
	"time"

	"github.com/ipallow/ipallow/cmd/internal/fleet"
	"github.com/ipallow/ipallow/cmd/internal/manage"
)

// confirmWait is how long a change waits for the gateways before the page says
// which have confirmed it.
const confirmWait = time.Second

type inForceView struct {
	Key     manage.Key
	Current string
	Where   fleet.Propagation
	Rows    []standRow
}

// A standRow is a gateway in words.
type standRow struct {
	fleet.Stand
	State fleet.State
	Heard string
	Note  string
}

// inForce shows on which gateways a key's last change is in force.
func (p *Page) inForce(w http.ResponseWriter, r *http.Request, s *session) error {
	key, err := p.Manager.Key(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	v := &inForceView{Key: key, Current: "in-force", Where: p.Propagation(r.Context(), key.ID, 0)}
	now := p.Now()
	for _, n := range v.Where.Nodes {
		row := standRow{Stand: n, State: n.State(now), Heard: heard(&n.Node, now)}
		if n.Reason != "" {
			row.Note = sentence(n.Reason)
		}
		v.Rows = append(v.Rows, row)
	}
	p.render(w, r, s, http.StatusOK, "inforce", "Where "+visible(key.Name)+" is in force", "keys", v)
	return nil
}

// heard says how long ago a node reported.
func heard(n *fleet.Node, now time.Time) string {
	if n.Heard.IsZero() {
		return "not since the management node started"
	}
	return span(now.Sub(n.Heard)) + " ago"
}

// where waits for the gateways to confirm a key's last change, and says which
// have not: "" if it is in force everywhere.
func (p *Page) where(ctx context.Context, id string, wait time.Duration) string {
	if p.Propagation == nil {
		return ""
	}
	at := p.Propagation(ctx, id, wait)
	switch {
	case at.InForce:
		return ""
	case at.Reason == "":
		return "Not in force on every gateway yet."
	}
	return "Not in force on every gateway yet. " + at.Reason
}

// changed tells that a key was changed, and where that is not in force yet. It
// returns where to go: back, or to the page that says more.
func (p *Page) changed(r *http.Request, s *session, id, text, back string) string {
	if where := p.where(r.Context(), id, confirmWait); where != "" {
		s.tell(notice{Text: text + " " + visible(where), Warn: true})
		return keyURL(id, "in-force")
	}
	s.tell(notice{Text: text})
	return back
}
