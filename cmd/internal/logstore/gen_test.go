package logstore

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/ipallow/ipallow"
	"github.com/ipallow/ipallow/usagelog"
)

// begin is when the records of the tests begin.
var begin = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// A generator makes the log of a server: keys of which few are busy, each used
// from a few addresses, paths of an API, requests in the order in which they
// were answered.
type generator struct {
	rnd   *rand.Rand
	keys  []string
	epoch [8]byte
	n     uint64
	now   time.Time
	step  time.Duration // between two requests, on average
}

func newGenerator(keys int) *generator {
	g := &generator{rnd: rand.New(rand.NewPCG(1, 2)), now: begin, step: 25 * time.Microsecond}
	binary.LittleEndian.PutUint64(g.epoch[:], g.rnd.Uint64())
	for range keys {
		g.keys = append(g.keys, g.hex(8))
	}
	return g
}

func (g *generator) hex(n int) string {
	b := make([]byte, 0, 16)
	for len(b) < n {
		b = binary.LittleEndian.AppendUint64(b, g.rnd.Uint64())
	}
	return hex.EncodeToString(b[:n])
}

func (g *generator) record() usagelog.Record {
	g.n++
	g.now = g.now.Add(time.Duration(g.rnd.Int64N(2 * int64(g.step))))
	// Of a hundred keys, the first has 15% of the requests, the last 0.3%.
	u := g.rnd.Float64()
	k := int(u * u * u * float64(len(g.keys)))
	r := usagelog.Record{
		ID:         usagelog.RecordID(binary.BigEndian.AppendUint64(g.epoch[:], g.n)),
		Time:       g.now.Add(-time.Duration(g.rnd.ExpFloat64() * float64(2*time.Millisecond))),
		RequestID:  g.hex(16),
		KeyID:      g.keys[k],
		Method:     []string{"GET", "GET", "GET", "POST", "PUT", "DELETE"}[g.rnd.IntN(6)],
		Path:       fmt.Sprintf("/v1/organisations/acme/projects/%d/items", g.rnd.IntN(1000)),
		Status:     200,
		ClientAddr: netip.AddrFrom4([4]byte{203, byte(k >> 8), byte(k), byte(g.rnd.IntN(4))}),
		Verdict:    ipallow.Allowed,
		Duration:   time.Duration(g.rnd.ExpFloat64() * float64(2*time.Millisecond)),
	}
	switch g.rnd.IntN(50) {
	case 0:
		r.Status, r.Verdict = 403, ipallow.Denied
	case 1:
		r.Status = 404
	case 2:
		r.Status, r.KeyID, r.Verdict = 401, "", ipallow.Denied
	}
	return r
}

func (g *generator) batch(n int) []usagelog.Record {
	recs := make([]usagelog.Record, n)
	for i := range recs {
		recs[i] = g.record()
	}
	return recs
}
