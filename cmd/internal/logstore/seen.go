package logstore

import (
	"context"
	"net/netip"
	"time"

	"github.com/ipallow/ipallow/cmd/internal/binrec"
	"github.com/ipallow/ipallow/cmd/internal/manage"
	"github.com/ipallow/ipallow/usagelog"
)

var _ manage.SeenLog = (*Store)(nil)

// Seen returns every address from which requests with the key were served or
// blocked since then, in no order. A request counts as served unless it was
// answered with 401, 403 or 503 and its verdict was Denied: what a report-only
// list would have refused was served. It counts as blocked if an allowlist refused it.
//
// It takes about 50 us for each block of up to 4096 records in which the key
// occurs, reads no record of those, and holds some 100 bytes an address.
func (s *Store) Seen(ctx context.Context, keyID string, since time.Time) ([]manage.SeenAddress, error) {
	if keyID == "" {
		return nil, nil
	}
	r := s.newReader(usagelog.Filter{KeyID: keyID, From: since}, nil)
	type seen struct{ last, served, blocked int64 }
	found := make(map[netip.Addr]seen)
	add := func(t *tally) {
		if t.addr.IsValid() && t.seen+t.blocked > 0 {
			v := found[t.addr]
			if t.seen > 0 {
				v.last = max(v.last, t.last)
			}
			found[t.addr] = seen{v.last, v.served + t.seen, v.blocked + t.blocked}
		}
	}
	err := r.eachBlock(ctx, func(c *candidates) (bool, error) {
		if c.within(r) {
			tallies, ok, err := c.tallies(ctx, r.terms[0])
			for i := range tallies {
				add(&tallies[i])
			}
			if ok || err != nil {
				return ok, err
			}
		}
		b, err := c.load(ctx)
		if err != nil {
			return false, err
		}
		r.eachRecord(b, func(rec binrec.Record) {
			t := tally{addr: rec.ClientAddr()}
			t.add(rec)
			add(&t)
		})
		return true, nil
	})
	if err != nil {
		return nil, s.explain(ctx, err)
	}
	list := make([]manage.SeenAddress, 0, len(found))
	for addr, v := range found {
		a := manage.SeenAddress{Addr: addr, Served: v.served, Blocked: v.blocked}
		if v.served > 0 {
			a.Last = time.Unix(0, v.last).UTC()
		}
		list = append(list, a)
	}
	return list, nil
}

// Blocked counts the requests with each key that its allowlist refused since
// then. Blocks without such a request cost nothing; of the others it reads the
// tallies, once for all keys.
func (s *Store) Blocked(ctx context.Context, keyIDs []string, since time.Time) (map[string]int64, error) {
	byTerm := make(map[term]string, len(keyIDs))
	for _, id := range keyIDs {
		byTerm[keyTerm(id)] = id
	}
	found := make(map[string]int64, len(keyIDs))
	r := s.newReader(usagelog.Filter{From: since}, nil)
	err := r.eachBlock(ctx, func(c *candidates) (bool, error) {
		if c.counts.blocked == 0 {
			return true, nil
		}
		if c.within(r) {
			ok, err := c.blocked(ctx, func(key term, n int64) {
				if id, asked := byTerm[key]; asked {
					found[id] += n
				}
			})
			if ok || err != nil {
				return ok, err
			}
		}
		b, err := c.load(ctx)
		if err != nil {
			return false, err
		}
		r.eachRecord(b, func(rec binrec.Record) {
			var one counts
			one.add(rec)
			if id, asked := byTerm[keyTerm(rec.KeyID())]; asked {
				found[id] += one.blocked
			}
		})
		return true, nil
	})
	if err != nil {
		return nil, s.explain(ctx, err)
	}
	return found, nil
}

// eachBlock calls f for each block that may have records for the filter, until
// f returns false or an error.
func (r *reader) eachBlock(ctx context.Context, f func(c *candidates) (bool, error)) error {
	c, err := r.s.candidates(ctx, r.s.seen, r.from, r.to, r.terms, nil)
	if err != nil {
		return err
	}
	defer c.close()
	for {
		ok, err := c.next(ctx)
		if ok && err == nil {
			ok, err = f(c)
		}
		if err != nil || !ok {
			return err
		}
	}
}

// eachRecord calls f for each record of b that the filter chooses.
func (r *reader) eachRecord(b *block, f func(rec binrec.Record)) {
	for i := range b.len() {
		if rec := b.at(i); rec.Match(&r.f) {
			f(rec)
		}
	}
}
