package logstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"

	"github.com/ipallow/ipallow/usagelog"
)

// A Part is records that came from one node of a fleet; the empty name is the
// server itself.
type Part struct {
	Node    string
	Records []usagelog.Record
}

const (
	// nodeLanes is how many lanes a node has in the column, of which it uses fewer.
	nodeLanes = 8

	// maxNodes is how many nodes are told apart. Those beyond share with others.
	maxNodes = 4096

	// A node's records are recognised by at most so many runs, or by as many as
	// there are in bytesPerRun of the bound. A Writer makes one at each start.
	maxRuns     = 1 << 16
	minRuns     = 1 << 10
	bytesPerRun = 2 << 10
)

// perNode are sums by node, as they are in the file, and what the transaction adds.
type perNode struct{ stored, added map[int64]int64 }

func newPerNode() perNode {
	return perNode{make(map[int64]int64), make(map[int64]int64)}
}

func (p perNode) of(node int64) int64 { return p.stored[node] + p.added[node] }

// end ends a transaction.
func (p perNode) end(committed bool) {
	if committed {
		for node, n := range p.added {
			if p.stored[node] += n; p.stored[node] == 0 {
				delete(p.stored, node)
			}
		}
	}
	clear(p.added)
}

// largest returns the node with the largest sum, and that sum.
func (p perNode) largest() (node, most int64) {
	for _, m := range []map[int64]int64{p.stored, p.added} {
		for k := range m {
			if n := p.of(k); n > most || n == most && k < node {
				node, most = k, n
			}
		}
	}
	return node, most
}

// nodeNames are the nodes' numbers.
type nodeNames struct{ stored, added map[string]int64 }

func (n nodeNames) end(committed bool) {
	if committed {
		maps.Copy(n.stored, n.added)
	}
	clear(n.added)
}

// nodeID returns the number of a node, in a transaction.
func (w *writer) nodeID(name string) (int64, error) {
	if name == "" {
		return 0, nil
	}
	for _, m := range []map[string]int64{w.names.stored, w.names.added} {
		if id, ok := m[name]; ok {
			return id, nil
		}
	}
	var id int64
	err := w.findNode.QueryRowContext(background, name).Scan(&id)
	if errors.Is(err, sql.ErrNoRows) {
		err = w.addNode.QueryRowContext(background, name, maxNodes).Scan(&id)
	}
	if errors.Is(err, sql.ErrNoRows) { // there are maxNodes
		for _, c := range []byte(name) {
			id = (31*id + int64(c)) % maxNodes
		}
		id, err = id+1, nil
	}
	if err != nil {
		return 0, fmt.Errorf("number of node %.80q: %w", name, err)
	}
	w.names.added[name] = id
	return id, nil
}

// Texts of statements about nodes.
const (
	findNodeText = "SELECT id FROM nodes WHERE name = ?"
	addNodeText  = "INSERT INTO nodes (name) SELECT ?1 WHERE (SELECT count(*) FROM nodes) < ?2 RETURNING id"

	// oldestText finds a node's oldest blocks, whichever lane they are in.
	oldestText = `SELECT id, records FROM (
		SELECT * FROM (SELECT id, records, newest FROM blocks INDEXED BY blocks_lane WHERE lane = 8 * ?1 ORDER BY newest LIMIT 8) UNION ALL
		SELECT * FROM (SELECT id, records, newest FROM blocks INDEXED BY blocks_lane WHERE lane = 8 * ?1 + 1 ORDER BY newest LIMIT 8) UNION ALL
		SELECT * FROM (SELECT id, records, newest FROM blocks INDEXED BY blocks_lane WHERE lane = 8 * ?1 + 2 ORDER BY newest LIMIT 8) UNION ALL
		SELECT * FROM (SELECT id, records, newest FROM blocks INDEXED BY blocks_lane WHERE lane = 8 * ?1 + 3 ORDER BY newest LIMIT 8) UNION ALL
		SELECT * FROM (SELECT id, records, newest FROM blocks INDEXED BY blocks_lane WHERE lane = 8 * ?1 + 4 ORDER BY newest LIMIT 8)
	) ORDER BY newest LIMIT 8`

	// forgetMostText leaves the newest runs of a node.
	forgetMostText = `DELETE FROM taken WHERE node = ?1 AND newest <= (
		SELECT newest FROM taken INDEXED BY taken_node WHERE node = ?1 ORDER BY newest DESC LIMIT 1 OFFSET ?2)`
)

// countRuns sets how many runs each node has.
func (w *writer) countRuns(ctx context.Context) error {
	rows, err := w.conn.QueryContext(ctx, "SELECT node, count(*) FROM taken INDEXED BY taken_node GROUP BY node")
	if err != nil {
		return err
	}
	defer rows.Close()
	now := make(map[int64]int64)
	for rows.Next() {
		var node, n int64
		if err := rows.Scan(&node, &n); err != nil {
			return err
		}
		now[node] = n
	}
	for node := range w.runs.stored {
		w.runs.added[node] = -w.runs.stored[node]
	}
	for node, n := range now {
		w.runs.added[node] = n - w.runs.stored[node]
	}
	return rows.Err()
}

// boundRuns forgets the older half of the node's runs when there are too many. They
// would take the place of records, and a node that invents IDs has one for each.
func (w *writer) boundRuns() error {
	most := int64(maxRuns)
	if w.s.opt.MaxBytes > 0 {
		most = min(maxRuns, max(minRuns, w.s.opt.MaxBytes/bytesPerRun))
	}
	if w.runs.of(w.node) <= most {
		return nil
	}
	res, err := w.forgetMost.ExecContext(background, w.node, most/2)
	if err != nil {
		return err
	}
	n, err := res.RowsAffected()
	w.runs.added[w.node] -= n
	return err
}
