package page

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/ipallow/ipallow/cmd/internal/fleet"
)

// lateAfter is when a change that is not published is worth a word.
const lateAfter = 5 * time.Second

type nodesView struct {
	fleet.View
	Rows     []nodeRow
	Gateways int
	Late     string // how old the oldest change is that was not published; "" if there is none
	Error    string // why keys are not published
	Usage    string // why usage records do not come
}

// A nodeRow is a node in words.
type nodeRow struct {
	fleet.Node
	State  fleet.State
	Lag    uint64
	Known  string // how old what it knows may be
	Heard  string
	Reason string
	Notes  []string // what else there is to say
}

// nodes is the page of the fleet. It is there only if there is a fleet.
func (p *Page) nodes(w http.ResponseWriter, r *http.Request, s *session) error {
	now := p.Now()
	v := nodesView{View: p.Fleet(r.Context())}
	for _, n := range v.Nodes {
		v.Rows = append(v.Rows, tellNode(&v.View, n, now))
		if n.Role == fleet.Gateway {
			v.Gateways++
		}
	}
	if t := v.Publisher.Oldest; !t.IsZero() && now.Sub(t) > lateAfter {
		v.Late = span(now.Sub(t))
	}
	if err := v.Publisher.Err; err != nil {
		v.Error = sentence(err.Error())
	}
	if err := v.View.Usage.Err; err != nil {
		v.Usage = sentence(err.Error())
	}
	p.render(w, r, s, http.StatusOK, "nodes", "Nodes", "nodes", v)
	return nil
}

// removeNode takes a node that is no more off the list.
func (p *Page) removeNode(w http.ResponseWriter, r *http.Request, s *session) error {
	if err := p.parseForm(w, r, 4<<10); err != nil {
		return err
	}
	if p.RemoveNode == nil {
		return errNoPage
	}
	name := r.PostForm.Get("name")
	err := p.RemoveNode(r.Context(), name)
	switch {
	case errors.Is(err, fleet.ErrNodeAlive):
		s.tell(notice{Text: visible(name) + " still reports. Stop it, and remove it when it is silent.", Warn: true})
	case errors.Is(err, fleet.ErrNoNode):
		s.tell(notice{Text: "There is no node " + visible(name) + " any more.", Warn: true})
	case err != nil:
		return err
	default:
		if err := p.Manager.NodeRemoved(r.Context(), p.caller(r), name); err != nil {
			return err
		}
		s.tell(notice{Text: visible(name) + " is removed from the list. Take its rights in NATS away too, if it is not to come back."})
	}
	http.Redirect(w, r, "/nodes", http.StatusSeeOther)
	return nil
}

func tellNode(v *fleet.View, n fleet.Node, now time.Time) nodeRow {
	row := nodeRow{Node: n, State: n.State(now), Lag: v.Lag(&n), Heard: heard(&n, now)}
	switch {
	case n.Role == fleet.Management:
		row.Known = "the database"
	case n.Staleness == nil:
		row.Known = "age not known"
	default:
		row.Known = "at most " + span(time.Duration(*n.Staleness)*time.Millisecond) + " old"
	}
	if row.State != fleet.StateReady && n.Reason != "" {
		row.Reason = sentence(strings.TrimPrefix(n.Reason, "natsfeed: "))
	}
	note := func(format string, args ...any) { row.Notes = append(row.Notes, fmt.Sprintf(format, args...)) }
	if n.Source == "checkpoint" {
		note("From its checkpoint file.")
	}
	if n.Faults > 0 {
		note("%s in the bucket that this node cannot use as they are:", count(n.Faults, "key has a value", "keys have values"))
		for _, f := range n.Faulty {
			kept := "its former list stays in force"
			if f.Closed {
				kept = "nobody is served with it"
			}
			note("%s: %s (%s).", visible(f.Key), visible(strings.TrimSuffix(f.Reason, ".")), kept)
		}
		if more := n.Faults - len(n.Faulty); more > 0 {
			note("%d more.", more)
		}
	}
	if n.Missing > 0 {
		note("%s have disappeared from the bucket and are kept.", count(n.Missing, "key", "keys"))
	}
	if n.Backlog > 0 {
		note("%s on the way.", count(n.Backlog, "usage record", "usage records"))
	}
	if n.Twice {
		note("Two nodes report under this name; give each its own --name.")
	}
	return row
}

// span puts a duration into words.
func span(d time.Duration) string {
	switch {
	case d < time.Second:
		return "1 s" // or less
	case d < 2*time.Minute:
		return fmt.Sprintf("%d s", d/time.Second)
	case d < 2*time.Hour:
		return fmt.Sprintf("%d min", d/time.Minute)
	}
	return fmt.Sprintf("%d h", d/time.Hour)
}
