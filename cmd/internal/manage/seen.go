package manage

import (
	"cmp"
	"context"
	"net/netip"
	"slices"
	"time"

	"github.com/ipallow/ipallow/cmd/internal/canon"
)

// Seen returns from where requests with the key came lately.
func (s *Service) Seen(ctx context.Context, id string) (Seen, error) {
	if _, err := s.Key(ctx, id); err != nil {
		return Seen{}, err
	}
	all, since, err := s.seenAddresses(ctx, id)
	if err != nil {
		return Seen{}, err
	}
	out := Seen{Since: since}
	for _, a := range all {
		if a.Served > 0 {
			out.Served = append(out.Served, a)
			out.ServedRequests += a.Served
		}
		if a.Blocked > 0 {
			out.Blocked = append(out.Blocked, a)
			out.BlockedRequests += a.Blocked
		}
	}
	out.ServedTotal, out.BlockedTotal = len(out.Served), len(out.Blocked)
	out.Served = mostUsed(out.Served, func(a SeenAddress) int64 { return a.Served })
	out.Blocked = mostUsed(out.Blocked, func(a SeenAddress) int64 { return a.Blocked })
	return out, nil
}

// Blocked counts the requests that the allowlist of each of the keys has
// refused lately.
func (s *Service) Blocked(ctx context.Context, ids []string) (map[string]int64, error) {
	if _, err := s.read(); err != nil || s.seen == nil || len(ids) == 0 {
		return nil, err
	}
	return s.seen.Blocked(ctx, ids, s.now().Add(-SeenWithin))
}

// mostUsed sorts the addresses by their requests, most first, and returns the
// first MaxSeen.
func mostUsed(list []SeenAddress, requests func(SeenAddress) int64) []SeenAddress {
	slices.SortFunc(list, func(a, b SeenAddress) int {
		return cmp.Or(cmp.Compare(requests(b), requests(a)), b.Last.Compare(a.Last), a.Addr.Compare(b.Addr))
	})
	return slices.Clip(list[:min(len(list), MaxSeen)])
}

// seenAddresses returns every address from which requests with the key came
// since the time returned, each once in its canonical form.
func (s *Service) seenAddresses(ctx context.Context, id string) ([]SeenAddress, time.Time, error) {
	since := s.now().Add(-SeenWithin)
	if s.seen == nil {
		return nil, since, nil
	}
	seen, err := s.seen.Seen(ctx, id, since)
	if err != nil {
		return nil, since, err
	}
	at := make(map[netip.Addr]int, len(seen))
	out := make([]SeenAddress, 0, len(seen))
	for _, a := range seen {
		a.Addr = canon.Addr(a.Addr)
		a.Caller = false
		if !a.Addr.IsValid() {
			continue
		}
		i, again := at[a.Addr]
		if !again {
			at[a.Addr] = len(out)
			out = append(out, a)
			continue
		}
		o := &out[i]
		o.Served, o.Blocked = o.Served+a.Served, o.Blocked+a.Blocked
		if a.Last.After(o.Last) {
			o.Last = a.Last
		}
	}
	return out, since, nil
}
