// Package logtraffic makes usage records as servers make them, for tests of the log and
// for measuring it.
package logtraffic

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

// Begin is when the records begin, unless a generator is told otherwise.
var Begin = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// A Generator makes the log of a server: keys of which few are busy, each used
// from a few addresses, paths of an API, requests in the order in which they
// were answered.
type Generator struct {
	rnd   *rand.Rand
	Keys  []string
	epoch [8]byte
	n     uint64
	Now   time.Time     // of the last record
	Step  time.Duration // between two requests, on average
}

// NewGenerator returns a Generator of records of so many keys.
func NewGenerator(keys int) *Generator {
	g := &Generator{rnd: rand.New(rand.NewPCG(1, 2)), Now: Begin, Step: 25 * time.Microsecond}
	binary.LittleEndian.PutUint64(g.epoch[:], g.rnd.Uint64())
	for range keys {
		g.Keys = append(g.Keys, g.Hex(8))
	}
	return g
}

// Hex returns n random hexadecimal digits.
func (g *Generator) Hex(n int) string {
	b := make([]byte, 0, 16)
	for len(b) < n {
		b = binary.LittleEndian.AppendUint64(b, g.rnd.Uint64())
	}
	return hex.EncodeToString(b[:n])
}

// Record returns the next record.
func (g *Generator) Record() usagelog.Record {
	g.n++
	g.Now = g.Now.Add(time.Duration(g.rnd.Int64N(2 * int64(g.Step))))
	// Of a hundred keys, the first has 15% of the requests, the last 0.3%.
	u := g.rnd.Float64()
	k := int(u * u * u * float64(len(g.Keys)))
	r := usagelog.Record{
		ID:         usagelog.RecordID(binary.BigEndian.AppendUint64(g.epoch[:], g.n)),
		Time:       g.Now.Add(-time.Duration(g.rnd.ExpFloat64() * float64(2*time.Millisecond))),
		RequestID:  g.Hex(16),
		KeyID:      g.Keys[k],
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

// Batch returns the next n records.
func (g *Generator) Batch(n int) []usagelog.Record {
	recs := make([]usagelog.Record, n)
	for i := range recs {
		recs[i] = g.Record()
	}
	return recs
}
