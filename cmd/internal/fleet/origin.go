package fleet

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/ipallow/ipallow/usagelog"
)

// originOf returns the node that sent a usage message, as its subject names it.
// Where each gateway has an account of its own NATS lets nobody else send on it.
func (c *Config) originOf(subject string) string {
	return strings.TrimPrefix(subject, c.usageSubject()+".")
}

// maxAhead is how far ahead a gateway's clock may be. What is later gets the time
// at which it came: it would stand first in the log until then, and last beyond
// the retention.
const maxAhead = 10 * time.Minute

// own gives records of a node the IDs that they have in the log. A RecordID is
// what a Writer drew and counted, so another node could send the numbers that
// come next, and the log would take the true records for ones that it has. The
// first half becomes a hash over the node's name and what was drawn; the second
// half, the count, stays, for the log stores it in runs.
func own(node string, records []usagelog.Record, now time.Time) {
	var drawn, hashed uint64
	for i := range records {
		r := &records[i]
		if n := binary.BigEndian.Uint64(r.ID[:8]); i == 0 || n != drawn {
			sum := sha256.Sum256(append(append([]byte("ipallow record\x00"), r.ID[:8]...), node...))
			drawn, hashed = n, binary.BigEndian.Uint64(sum[:8])|1 // never zero
		}
		binary.BigEndian.PutUint64(r.ID[:8], hashed)
		if r.Time.Sub(now) > maxAhead {
			r.Time = now
		}
	}
}

const (
	// complainEvery is how often it is logged that a node's messages cannot be
	// read.
	complainEvery = time.Minute

	// maxComplaints is how many nodes are remembered at once.
	maxComplaints = 1000
)

// complaints is when it was said of which node that its messages cannot be
// read, so that one that sends many fills no log and no disk. A Link has such of
// what NATS reports.
type complaints struct {
	mu    sync.Mutex
	nodes map[string]*complaint
}

type complaint struct {
	said   time.Time
	unsaid int       // messages since
	full   time.Time // when no more of its messages could be put aside
}

// of returns what was said of the node.
func (c *complaints) of(node string) *complaint {
	if c.nodes == nil || len(c.nodes) >= maxComplaints && c.nodes[node] == nil {
		c.nodes = make(map[string]*complaint)
	}
	if c.nodes[node] == nil {
		c.nodes[node] = new(complaint)
	}
	return c.nodes[node]
}

// say reports whether a message is worth a line in the log, and how many were not
// since the last line.
func (c *complaints) say(node string) (unsaid int, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.of(node)
	if now := time.Now(); now.Sub(n.said) >= complainEvery {
		unsaid, n.said, n.unsaid = n.unsaid, now, 0
		return unsaid, true
	}
	n.unsaid++
	return 0, false
}

// full reports whether it was found lately that no more messages of the node can
// be put aside; with set it is noted.
func (c *complaints) full(node string, set bool) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.of(node)
	if set {
		n.full = time.Now()
	}
	return time.Since(n.full) < complainEvery
}

// fileOf returns what the names of files begin with that hold a node's messages.
// The name of a node may have any characters.
func fileOf(node string) string {
	plain := strings.Map(func(r rune) rune {
		if r < 0x80 && (r == '-' || r == '_' || '0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z') {
			return r
		}
		return '_'
	}, node)
	if plain == node && len(node) <= 63 {
		return node + "."
	}
	sum := sha256.Sum256([]byte(node))
	return fmt.Sprintf("%s~%s.", cut(plain, 40), hex.EncodeToString(sum[:8]))
}
