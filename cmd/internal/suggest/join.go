package suggest

import (
	"cmp"
	"math/big"
	"net/netip"
	"slices"

	"github.com/ipallow/ipallow"
)

// Join returns the list of at most policy.MaxEntries networks that contains all
// of these and the fewest other addresses, and the number of those. There is
// none, ok is false, where even the broadest networks of the policy are too
// many. All networks must be within the policy.
func Join(networks []netip.Prefix, policy ipallow.Policy) (joined []netip.Prefix, others *big.Int, ok bool) {
	sorted := slices.Clone(networks)
	slices.SortFunc(sorted, func(a, b netip.Prefix) int {
		return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
	})
	var leaves []*tree
	for _, p := range sorted {
		if n := len(leaves); n > 0 && leaves[n-1].prefix.Contains(p.Addr()) {
			continue // what contains it comes before it
		}
		leaves = append(leaves, &tree{prefix: p, covered: size(p)})
	}
	leaves, _ = thin(leaves, MaxExact, policy)
	trees := forest(leaves, policy)
	if len(trees) == 0 || len(trees) > policy.MaxEntries {
		return nil, nil, false
	}
	best := solve(trees, policy.MaxEntries)
	others = best.cost
	for _, t := range best.list() {
		joined = append(joined, t.prefix)
	}
	slices.SortFunc(joined, func(a, b netip.Prefix) int { return a.Addr().Compare(b.Addr()) })
	return joined, others, true
}
