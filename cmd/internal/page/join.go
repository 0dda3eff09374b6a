package page

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/ipallow/ipallow"
	"github.com/ipallow/ipallow/cmd/internal/suggest"
)

// A joined list is fewer networks that contain all entries of a draft which has
// more than a list may have.
type joined struct {
	rows   []row
	Others string // how many addresses they contain besides; "" if none
}

// Entries are the networks, as people write them.
func (j *joined) Entries() (texts []string) {
	for _, r := range j.rows {
		texts = append(texts, r.Entry)
	}
	return texts
}

// join returns the networks that could take the place of the entries; nil if
// the policy has none broad enough.
func (p *Page) join(entries []ipallow.Entry) *joined {
	prefixes := make([]netip.Prefix, len(entries))
	for i, e := range entries {
		prefixes[i] = e.Prefix
	}
	networks, others, ok := suggest.Join(prefixes, p.Policy)
	if !ok {
		return nil
	}
	out := &joined{}
	if others.Sign() > 0 {
		out.Others = group(others.String())
	}
	for _, n := range networks {
		// A network keeps the labels of what it takes the place of.
		var labels []string
		for _, e := range entries {
			if n.Contains(e.Prefix.Addr()) && e.Label != "" && !slices.Contains(labels, e.Label) {
				labels = append(labels, e.Label)
			}
		}
		label := []rune(strings.Join(labels, ", "))
		label = label[:min(len(label), max(p.Policy.MaxLabel, 0))]
		out.rows = append(out.rows, row{Entry: short(n), Label: string(label), New: true})
	}
	return out
}
