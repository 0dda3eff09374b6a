package manage

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	"github.com/ipallow/ipallow"
	"github.com/ipallow/ipallow/cmd/internal/canon"
)

// A rule is what decides about a key's requests: everybody is served without a
// list, and while the list is only watched.
type rule struct {
	list       []ipallow.Entry
	reportOnly bool
}

func (r rule) open() bool { return len(r.list) == 0 || r.reportOnly }

func (r rule) serves() func(netip.Addr) bool {
	if r.open() {
		return func(netip.Addr) bool { return true }
	}
	return ipallow.Compile(r.list).Contains
}

// includes reports whether r serves whomever old serves, as far as single
// entries tell.
func (r rule) includes(old rule) bool {
	if r.open() {
		return true
	}
	return !old.open() && !slices.ContainsFunc(old.list, func(o ipallow.Entry) bool {
		return !slices.ContainsFunc(r.list, func(e ipallow.Entry) bool {
			return e.Prefix.Bits() <= o.Prefix.Bits() && e.Prefix.Contains(o.Prefix.Addr())
		})
	})
}

func (r *row) rule() rule { return rule{r.list, r.reportOnly} }

// lockout says whom a change from the rule in force to the next one locks out:
// the addresses from which the key was served lately, and the caller's own, that
// the first serves and the second refuses. Nil: nobody.
func (s *Service) lockout(ctx context.Context, by Actor, id string, inForce, next rule) (*LockoutError, error) {
	if next.includes(inForce) {
		return nil, nil // whatever the usage log says
	}
	seen, _, err := s.seenAddresses(ctx, id)
	if err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, fmt.Errorf("%w: %w", ErrLockoutUnknown, err)
	}
	was, will := inForce.serves(), next.serves()
	caller := canon.Addr(by.Addr)
	if i := slices.IndexFunc(seen, func(a SeenAddress) bool { return a.Addr == caller && a.Served > 0 }); i >= 0 {
		seen[i].Caller = true
	} else if s.isClient(caller) {
		seen = append(seen, SeenAddress{Addr: caller, Caller: true})
	}
	var out LockoutError
	var others []SeenAddress
	for _, a := range seen {
		if a.Served == 0 && !a.Caller || !was(a.Addr) || will(a.Addr) {
			continue
		}
		if out.Total++; a.Caller {
			out.Addresses, out.Caller = []SeenAddress{a}, true
		} else {
			others = append(others, a)
		}
	}
	if out.Total == 0 {
		return nil, nil
	}
	others = mostUsed(others, func(a SeenAddress) int64 { return a.Served })
	out.Addresses = append(out.Addresses, others[:min(len(others), MaxSeen-len(out.Addresses))]...)
	return &out, nil
}

// isClient reports whether the policy accepts the address as an entry.
func (s *Service) isClient(addr netip.Addr) bool {
	if !addr.IsValid() {
		return false
	}
	entry := ipallow.Entry{Prefix: netip.PrefixFrom(addr, addr.BitLen())}
	return s.policy.Validate([]ipallow.Entry{entry}) == nil
}

// confirm returns what stands against a change that would lock somebody out,
// or about which nobody knows, unless it was confirmed.
func (st *step) confirm(confirmed bool, lockout *LockoutError, unknown error) error {
	switch {
	case lockout == nil && unknown == nil:
		return nil
	case confirmed:
		st.confirmed = true
		return nil
	case unknown != nil:
		return unknown
	}
	return lockout
}
