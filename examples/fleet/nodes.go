package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"text/tabwriter"
	"time"
)

// A fleetView is what the management node knows of the fleet.
type fleetView struct {
	Newest uint64     `json:"newest_revision"`
	Nodes  []nodeView `json:"nodes"`
}

// A nodeView is what it knows of a node.
type nodeView struct {
	Name      string `json:"name"`
	Role      string `json:"role"`
	Revision  uint64 `json:"revision"`
	Lag       uint64 `json:"lag"`
	Staleness *int64 `json:"staleness_ms"`
	Source    string `json:"source"`
	Connected bool   `json:"connected"`
	Ready     bool   `json:"ready"`
	Reason    string `json:"reason"`
	Keys      int    `json:"keys"`
	Backlog   int64  `json:"usage_backlog"`
	Heard     *int64 `json:"heard_ms"`
}

// nodes returns what the management node knows of the fleet.
func (m *manager) nodes(ctx context.Context) (v fleetView, err error) {
	err = m.call(ctx, http.MethodGet, "/nodes", nil, &v)
	return v, err
}

// allReady waits until so many nodes have reported that they are ready.
func (m *manager) allReady(ctx context.Context, n int) (v fleetView, err error) {
	err = poll(ctx, 200*time.Millisecond, "the nodes' reports", func() error {
		if v, err = m.nodes(ctx); err != nil {
			return err
		}
		if len(v.Nodes) != n {
			return fmt.Errorf("%d nodes report, and not %d", len(v.Nodes), n)
		}
		for _, node := range v.Nodes {
			if !node.Ready || node.Lag > 0 {
				return fmt.Errorf("%s is not ready or %d revisions behind: %s", node.Name, node.Lag, node.Reason)
			}
		}
		return nil
	})
	return v, err
}

// write prints the nodes as a table.
func (v fleetView) write(w io.Writer) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "  node\trole\tready\trevision\tlag\tstale\tsource\tkeys\tbacklog\theard")
	for _, n := range v.Nodes {
		ready := "yes"
		if !n.Ready {
			ready = "no: " + n.Reason
		}
		fmt.Fprintf(t, "  %s\t%s\t%s\t%d\t%d\t%s\t%s\t%d\t%d\t%s\n", n.Name, n.Role, ready, n.Revision, n.Lag,
			millis(n.Staleness, ""), n.Source, n.Keys, n.Backlog, millis(n.Heard, " ago"))
	}
	t.Flush()
}

func millis(ms *int64, after string) string {
	if ms == nil {
		return "unknown"
	}
	return (time.Duration(*ms) * time.Millisecond).Round(100*time.Millisecond).String() + after
}
