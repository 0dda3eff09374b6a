package logstore

import (
	"cmp"
	"context"
	"net/netip"
	"slices"
	"time"

	"github.com/ipallow/ipallow/cmd/internal/manage"
	"github.com/ipallow/ipallow/usagelog"
)

var _ manage.SeenLog = (*Store)(nil)

// Seen returns the addresses from which requests with the key were served
// since then, most recent first, at most limit. A request counts as served
// unless it was answered with 401 or 403 and its verdict was Denied: what a
// report-only list would have refused was served.
//
// Once limit addresses are found it looks no further back than it must to
// know that they are the most recent ones; Served then counts less than all.
// It takes about 50 us for each block of up to 4096 records in which the key
// occurs, and no record of those is read.
func (s *Store) Seen(ctx context.Context, keyID string, since time.Time, limit int) ([]manage.SeenAddress, error) {
	if keyID == "" || limit <= 0 {
		return nil, nil
	}
	r := s.newReader(usagelog.Filter{KeyID: keyID, From: since}, nil)
	type seen struct{ last, served int64 }
	found := make(map[netip.Addr]seen)
	err := r.eachBlock(ctx, func(c *candidates) (bool, error) {
		if len(found) >= limit {
			newer := 0
			for _, v := range found {
				if v.last > c.newest {
					newer++
				}
			}
			if newer >= limit {
				return false, nil
			}
		}
		if c.within(r) {
			tallies, ok, err := c.tallies(ctx, r.terms[0])
			for _, t := range tallies {
				if t.addr.IsValid() && t.seen > 0 {
					v := found[t.addr]
					found[t.addr] = seen{max(v.last, t.last), v.served + t.seen}
				}
			}
			if ok || err != nil {
				return ok, err
			}
		}
		b, err := c.load(ctx)
		if err != nil {
			return false, err
		}
		r.eachRecord(b, func(rec usagelog.Binary) {
			if addr := rec.ClientAddr(); addr.IsValid() && wasServed(rec) {
				v := found[addr]
				found[addr] = seen{max(v.last, rec.UnixNano()), v.served + 1}
			}
		})
		return true, nil
	})
	if err != nil {
		return nil, s.explain(ctx, err)
	}
	list := make([]manage.SeenAddress, 0, len(found))
	for addr, v := range found {
		list = append(list, manage.SeenAddress{Addr: addr, Last: time.Unix(0, v.last).UTC(), Served: v.served})
	}
	slices.SortFunc(list, func(a, b manage.SeenAddress) int {
		return cmp.Or(b.Last.Compare(a.Last), a.Addr.Compare(b.Addr))
	})
	return list[:min(limit, len(list))], nil
}

// eachBlock calls f for each block that may have records for the filter, until
// f returns false or an error.
func (r *reader) eachBlock(ctx context.Context, f func(c *candidates) (bool, error)) error {
	c, err := r.s.candidates(ctx, r.from, r.to, r.terms)
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
func (r *reader) eachRecord(b *block, f func(rec usagelog.Binary)) {
	for i := range b.len() {
		if rec := b.at(i); rec.Match(&r.f) {
			f(rec)
		}
	}
}
