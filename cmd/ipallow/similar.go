package main

import (
	"cmp"
	"slices"
	"strings"
)

// didYouMean names texts that were perhaps meant, quoted, or is empty.
func didYouMean(quoted []string) string {
	if len(quoted) == 0 {
		return ""
	}
	return "; did you mean " + strings.Join(quoted, " or ") + "?"
}

// similar returns up to five keys that differ little from key.
func similar(keys []string, key string) []string {
	type near struct {
		key      string
		distance int
	}
	var all []near
	for _, k := range keys {
		if d := distance(k, key, 3); d <= 3 || strings.HasPrefix(k, key) {
			all = append(all, near{k, d})
		}
	}
	slices.SortStableFunc(all, func(a, b near) int { return cmp.Compare(a.distance, b.distance) })
	var names []string
	for _, n := range all[:min(5, len(all))] {
		names = append(names, quote(n.key))
	}
	return names
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
