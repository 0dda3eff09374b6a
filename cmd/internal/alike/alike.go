// Package alike finds the names that somebody perhaps meant who mistyped one.
package alike

import (
	"cmp"
	"slices"
	"strings"

	"github.com/ipallow/ipallow/cmd/internal/visible"
)

// DidYouMean is the end of a message that names what was perhaps meant, or empty.
func DidYouMean(names []string) string {
	quoted := make([]string, len(names))
	for i, name := range names {
		quoted[i] = visible.Quote(name)
	}
	if len(quoted) == 0 {
		return ""
	}
	return "; did you mean " + strings.Join(quoted, " or ") + "?"
}

// Names returns up to five of the names that differ little from name, or begin
// with it, the nearest first.
func Names(names []string, name string) []string {
	type near struct {
		name     string
		distance int
	}
	var all []near
	for _, k := range names {
		if d := distance(k, name, 3); d <= 3 || strings.HasPrefix(k, name) {
			all = append(all, near{k, d})
		}
	}
	slices.SortStableFunc(all, func(a, b near) int { return cmp.Compare(a.distance, b.distance) })
	var nearest []string
	for _, n := range all[:min(5, len(all))] {
		nearest = append(nearest, n.name)
	}
	return nearest
}

// distance is the number of bytes to insert, delete or change, or more than
// limit.
func distance(a, b string, limit int) int {
	if len(a)-len(b) > limit || len(b)-len(a) > limit || len(a) > 100 || len(b) > 100 {
		return limit + 1
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		last := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := last
			if a[i] != b[j] {
				change++
			}
			last = row[j+1]
			row[j+1] = min(change, row[j+1]+1, row[j]+1)
		}
	}
	return row[len(b)]
}
