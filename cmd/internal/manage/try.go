package manage

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/ipallow/ipallow"
)

// Try says what the stored list or a proposed one would do to the addresses.
// A revoked key is ErrRevoked; more than MaxTrial addresses are a fault of the
// field "addresses". The zero Addr is tried as an unknown client address.
func (s *Service) Try(ctx context.Context, by Actor, id string, proposed *[]ListEntry, addrs []netip.Addr) (Trial, error) {
	r, err := s.activeRow(ctx, id)
	if err != nil {
		return Trial{}, err
	}
	if len(addrs) > MaxTrial {
		return Trial{}, &FieldError{"addresses", fmt.Sprintf("there are %d, and the limit is %d; try them in parts", len(addrs), MaxTrial)}
	}
	list := r.list
	var t Trial
	if proposed != nil {
		if list, err = s.parseEntries(*proposed); err != nil {
			return Trial{}, err
		}
		if t.Lockout, err = s.lockout(ctx, by, id, r.rule(), rule{list, r.reportOnly}); err != nil {
			return Trial{}, err
		}
		t.Unrestricts = len(r.list) > 0 && len(list) == 0
	}
	t.Warnings = ipallow.Warnings(list)
	t.Results = tryAll(list, addrs)
	return t, nil
}

func tryAll(list []ipallow.Entry, addrs []netip.Addr) []TrialResult {
	compiled := ipallow.Compile(list)
	at := make(map[netip.Prefix]int, len(list))
	for i, e := range list {
		at[e.Prefix] = i
	}
	results := make([]TrialResult, len(addrs))
	for i, addr := range addrs {
		res := TrialResult{Addr: addr, Verdict: ipallow.Unrestricted, Index: -1}
		if len(list) > 0 {
			res.Verdict = ipallow.Denied
			if e, ok := compiled.Lookup(addr); ok {
				res.Verdict, res.Match, res.Index = ipallow.Allowed, &e, at[e.Prefix]
			}
		}
		results[i] = res
	}
	return results
}
