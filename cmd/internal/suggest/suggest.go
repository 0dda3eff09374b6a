// Package suggest finds small allowlists that cover given addresses.
package suggest

import (
	"cmp"
	"math/big"
	"net/netip"
	"slices"

	"github.com/ipallow/ipallow"
	"github.com/ipallow/ipallow/cmd/internal/canon"
)

// MaxExact is how many different addresses the exact search takes. Where there
// are more, the closest neighbours are joined first until so many are left.
const MaxExact = 1024

// A Seen is an address and how many requests came from it.
type Seen struct {
	Addr     netip.Addr
	Requests int64
}

// An Entry is one of the networks suggested.
type Entry struct {
	Prefix    netip.Prefix
	Requests  int64
	Addresses int      // different ones seen in it
	Unseen    *big.Int // addresses in it that were not seen
}

// A Result is a list for one key.
type Result struct {
	Entries []Entry
	// LeftOut is the addresses that the policy does not allow in a list, or
	// that no list of its limits could cover beside the others.
	LeftOut []Seen
	// Exact says that no other list of as many entries covers fewer addresses
	// that were not seen.
	Exact bool
}

// List returns, among the lists of at most policy.MaxEntries networks within
// the policy that contain all the addresses, the one that covers the fewest
// addresses which were not seen, and of equal ones the shortest.
//
// Addresses that are not public are left out unless the policy allows them.
// Where even the broadest networks of the policy are too many, those with the
// fewest requests are left out.
//
// The networks that can matter are those of the binary trie of the addresses
// at which both branches are taken, or cut to the policy's length. For each,
// and each number of entries, the cheapest list is that of the network itself
// or the two branches' with the number shared between them.
func List(seen []Seen, policy ipallow.Policy) Result {
	var res Result
	var all []Seen
	for _, s := range canonical(seen) {
		one := []ipallow.Entry{{Prefix: netip.PrefixFrom(s.Addr, s.Addr.BitLen())}}
		p := policy
		p.MaxEntries = 1
		if p.Validate(one) != nil {
			res.LeftOut = append(res.LeftOut, s)
			continue
		}
		all = append(all, s)
	}
	limit := max(policy.MaxEntries, 0)
	groups := roots(all, policy)
	if len(groups) > limit {
		slices.SortStableFunc(groups, func(a, b []Seen) int { return cmp.Compare(total(b), total(a)) })
		for _, g := range groups[limit:] {
			res.LeftOut = append(res.LeftOut, g...)
		}
		groups = groups[:limit]
		all = slices.Concat(groups...)
	}
	if len(groups) == 0 {
		res.Exact = true
		return res
	}
	leaves := make([]*tree, len(all))
	slices.SortFunc(all, func(a, b Seen) int { return a.Addr.Compare(b.Addr) })
	for i, s := range all {
		leaves[i] = &tree{prefix: netip.PrefixFrom(s.Addr, s.Addr.BitLen()), seen: 1, covered: big.NewInt(1), requests: s.Requests}
	}
	leaves, res.Exact = thin(leaves, MaxExact, policy)
	best := solve(forest(leaves, policy), limit)
	for _, t := range best.list() {
		res.Entries = append(res.Entries, Entry{Prefix: t.prefix, Requests: t.requests, Addresses: t.seen, Unseen: t.cost()})
	}
	slices.SortFunc(res.Entries, func(a, b Entry) int { return a.Prefix.Addr().Compare(b.Prefix.Addr()) })
	return res
}

// canonical unmaps and joins the addresses, sorted.
func canonical(seen []Seen) []Seen {
	all := make([]Seen, 0, len(seen))
	for _, s := range seen {
		if s.Addr.IsValid() {
			all = append(all, Seen{canon.Addr(s.Addr), s.Requests})
		}
	}
	slices.SortFunc(all, func(a, b Seen) int { return a.Addr.Compare(b.Addr) })
	n := 0
	for _, s := range all {
		if n > 0 && all[n-1].Addr == s.Addr {
			all[n-1].Requests += s.Requests
			continue
		}
		all[n] = s
		n++
	}
	return all[:n]
}

func minBits(a netip.Addr, policy ipallow.Policy) int {
	if a.Is4() {
		return max(policy.MinBits4, 0)
	}
	return max(policy.MinBits6, 0)
}

// roots parts sorted addresses by the broadest networks that the policy has.
func roots(all []Seen, policy ipallow.Policy) [][]Seen {
	var groups [][]Seen
	var root netip.Prefix
	for _, s := range all {
		if !root.IsValid() || !root.Contains(s.Addr) {
			root, _ = s.Addr.Prefix(minBits(s.Addr, policy))
			groups = append(groups, nil)
		}
		groups[len(groups)-1] = append(groups[len(groups)-1], s)
	}
	return groups
}

func total(g []Seen) (n int64) {
	for _, s := range g {
		n += s.Requests
	}
	return n
}

// A tree is a network of the trie with what was seen in it.
type tree struct {
	prefix   netip.Prefix
	left     *tree // nil in a leaf
	right    *tree
	seen     int      // different addresses
	covered  *big.Int // addresses that the list must contain
	requests int64
}

// cost is the number of addresses in the network that the list need not
// contain.
func (t *tree) cost() *big.Int {
	n := size(t.prefix)
	return n.Sub(n, t.covered)
}

// size is the number of addresses in p.
func size(p netip.Prefix) *big.Int {
	return new(big.Int).Lsh(big.NewInt(1), uint(p.Addr().BitLen()-p.Bits()))
}

// join is the smallest network over both, or nil if the policy refuses it.
func join(a, b *tree, policy ipallow.Policy) *tree {
	x, y := a.prefix.Addr(), b.prefix.Addr()
	if x.BitLen() != y.BitLen() {
		return nil
	}
	p, q := x.AsSlice(), y.AsSlice()
	n := 0
	for n < min(a.prefix.Bits(), b.prefix.Bits()) && (p[n/8]^q[n/8])>>(7-n%8)&1 == 0 {
		n++
	}
	if n < minBits(x, policy) {
		return nil
	}
	prefix, _ := x.Prefix(n)
	check := ipallow.Policy{MaxEntries: 1, MinBits4: policy.MinBits4, MinBits6: policy.MinBits6, AllowNonPublic: policy.AllowNonPublic}
	if check.Validate([]ipallow.Entry{{Prefix: prefix}}) != nil {
		return nil
	}
	return &tree{
		prefix: prefix, left: a, right: b, seen: a.seen + b.seen, requests: a.requests + b.requests,
		covered: new(big.Int).Add(a.covered, b.covered),
	}
}

// thin joins the closest neighbours until n leaves are left.
func thin(leaves []*tree, n int, policy ipallow.Policy) ([]*tree, bool) {
	exact := true
	for len(leaves) > n {
		// All joins of the longest common length at once.
		longest := -1
		for i := 1; i < len(leaves); i++ {
			if t := join(leaves[i-1], leaves[i], policy); t != nil {
				longest = max(longest, t.prefix.Bits()+128-t.prefix.Addr().BitLen())
			}
		}
		if longest < 0 {
			break
		}
		exact = false
		next := leaves[:1]
		for i := 1; i < len(leaves); i++ {
			last := next[len(next)-1]
			t := join(last, leaves[i], policy)
			if t != nil && t.prefix.Bits()+128-t.prefix.Addr().BitLen() >= longest {
				t.left, t.right = nil, nil
				next[len(next)-1] = t
				continue
			}
			next = append(next, leaves[i])
		}
		leaves = next
	}
	return leaves, exact
}

// forest builds the trie over sorted leaves: one tree for each network that
// nothing broader in the policy contains.
func forest(leaves []*tree, policy ipallow.Policy) []*tree {
	common := func(a, b *tree) int {
		t := join(a, b, policy)
		if t == nil {
			return -1
		}
		return t.prefix.Bits()
	}
	// A stack of trees, each to the left of the next: two are joined as soon
	// as nothing that follows can come between them.
	var stack []*tree
	fold := func(limit int) {
		for len(stack) > 1 {
			a, b := stack[len(stack)-2], stack[len(stack)-1]
			if n := common(a, b); n < 0 || n <= limit {
				return
			}
			stack = append(stack[:len(stack)-2], join(a, b, policy))
		}
	}
	for _, leaf := range leaves {
		if len(stack) > 0 {
			fold(common(stack[len(stack)-1], leaf))
		}
		stack = append(stack, leaf)
	}
	fold(-1)
	return stack
}

// A choice is the cheapest list of a number of entries under some trees.
type choice struct {
	cost  *big.Int
	tree  *tree      // the entry, if it is one,
	parts [2]*choice // or the lists of both parts
}

func (c *choice) list() []*tree {
	if c.tree != nil {
		return []*tree{c.tree}
	}
	var l []*tree
	for _, p := range c.parts {
		if p != nil {
			l = append(l, p.list()...)
		}
	}
	return l
}

// solve returns the cheapest list of at most n entries that covers all trees,
// of which there are at most n.
func solve(trees []*tree, n int) *choice {
	var all []*choice
	for i, t := range trees {
		// The other trees need an entry each.
		c := t.choices(n - len(trees) + 1)
		if i == 0 {
			all = c
			continue
		}
		all = combine(all, c, n)
	}
	return all[len(all)-1]
}

// choices returns the cheapest lists of at most 1, 2, ... entries for t, as
// many as still gain anything, at most n.
func (t *tree) choices(n int) []*choice {
	one := &choice{cost: t.cost(), tree: t}
	if t.left == nil || n <= 1 || one.cost.Sign() == 0 {
		return []*choice{one}
	}
	two := combine(t.left.choices(n-1), t.right.choices(n-1), n)
	best := []*choice{one}
	for k, c := range two {
		switch last := best[len(best)-1]; {
		case c == nil: // k+1 entries are too few for both
		case c.cost.Cmp(last.cost) >= 0:
			best = append(best, last)
		default:
			for len(best) < k {
				best = append(best, last)
			}
			best = append(best[:k], c)
		}
	}
	for len(best) > 1 && best[len(best)-1] == best[len(best)-2] {
		best = best[:len(best)-1]
	}
	return best
}

// combine shares at most n entries between two: result[k] is the cheapest
// list of at most k+1 entries, nil where there is none.
func combine(a, b []*choice, n int) []*choice {
	out := make([]*choice, min(len(a)+len(b), n))
	for i, x := range a {
		for j, y := range b {
			k := i + j + 1
			if x == nil || y == nil || k >= len(out) {
				continue
			}
			cost := new(big.Int).Add(x.cost, y.cost)
			if out[k] == nil || cost.Cmp(out[k].cost) < 0 {
				out[k] = &choice{cost: cost, parts: [2]*choice{x, y}}
			}
		}
	}
	for k := 1; k < len(out); k++ {
		if out[k-1] != nil && (out[k] == nil || out[k].cost.Cmp(out[k-1].cost) >= 0) {
			out[k] = out[k-1]
		}
	}
	return out
}
