package page

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/ipallow/ipallow"
	"github.com/ipallow/ipallow/cmd/internal/canon"
	"github.com/ipallow/ipallow/cmd/internal/manage"
)

// shownUsed is how many addresses are shown at once; the rest unfolds.
const shownUsed = 10

// A usedView is the addresses from which requests of one kind came lately.
type usedView struct {
	ID            string // of its heading
	Heading, Help string
	Rows, Rest    []usedRow
	Total         int
	Requests      int64
	Missing       []string // what Add all adds
}

// A usedRow is an address from which the key was used lately.
type usedRow struct {
	manage.SeenAddress
	Requests int64
	In       bool // the draft contains it
	Refused  bool // the policy refuses it as an entry
}

// All is the action that adds what is missing.
func (v *usedView) All() string { return "addr:" + strings.Join(v.Missing, ",") }

// Unnamed is how many addresses there are beyond those that are shown.
func (v *usedView) Unnamed() int { return v.Total - len(v.Rows) - len(v.Rest) }

func (p *Page) used(list []manage.SeenAddress, requests func(manage.SeenAddress) int64, in func(netip.Addr) bool) *usedView {
	v := &usedView{}
	for _, a := range list {
		r := usedRow{SeenAddress: a, Requests: requests(a), In: in(a.Addr), Refused: !p.acceptable(a.Addr)}
		if !r.In && !r.Refused {
			v.Missing = append(v.Missing, a.Addr.String())
		}
		v.Rows = append(v.Rows, r)
	}
	if len(v.Rows) > shownUsed {
		v.Rows, v.Rest = v.Rows[:shownUsed:shownUsed], v.Rows[shownUsed:]
	}
	return v
}

// usedViews returns the addresses that were served and those that were blocked.
func (p *Page) usedViews(s manage.Seen, in func(netip.Addr) bool) []*usedView {
	served := p.used(s.Served, func(a manage.SeenAddress) int64 { return a.Served }, in)
	served.ID, served.Heading, served.Total, served.Requests = "served", "Seen lately", s.ServedTotal, s.ServedRequests
	served.Help = "Served in the last 7 days, and what the list as shown here would do."
	if s.ServedTotal == 0 {
		served.Help = "No request with this key was served in the last 7 days."
		if s.BlockedTotal == 0 {
			served.Help = "This key was not used in the last 7 days. Addresses appear here when it is."
			return []*usedView{served}
		}
	}
	blocked := p.used(s.Blocked, func(a manage.SeenAddress) int64 { return a.Blocked }, in)
	blocked.ID, blocked.Heading, blocked.Total, blocked.Requests = "blocked", "Blocked lately", s.BlockedTotal, s.BlockedRequests
	blocked.Help = "Refused by the allowlist in the last 7 days. Add only addresses that you know."
	if s.BlockedTotal == 0 {
		return []*usedView{served}
	}
	return []*usedView{served, blocked}
}

// acceptable reports whether the policy accepts the address as an entry.
func (p *Page) acceptable(addr netip.Addr) bool {
	if !addr.IsValid() {
		return false
	}
	entry := ipallow.Entry{Prefix: netip.PrefixFrom(addr, addr.BitLen())}
	policy := p.Policy
	policy.MaxEntries = max(policy.MaxEntries, 1)
	return policy.Validate([]ipallow.Entry{entry}) == nil
}

// addAll adds the addresses, separated by commas, that no row contains yet.
func (d *draft) addAll(addrs string) {
	for a := range strings.SplitSeq(addrs, ",") {
		addr, err := netip.ParseAddr(a)
		if err != nil || d.contains(canon.Addr(addr)) || slices.ContainsFunc(d.Rows, func(r row) bool { return r.Entry == a }) {
			continue
		}
		for i := range d.Rows {
			d.Rows[i].Focus = false
		}
		d.add(a, "").Focus = true
	}
}
