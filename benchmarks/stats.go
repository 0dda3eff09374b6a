package main

import (
	"math"
	"slices"
)

// median returns the median of v, and NaN of nothing.
func median(v []float64) float64 { return quantile(v, 0.5) }

// quantile returns the value below which the part q of v lies, between two
// values by proportion.
func quantile(v []float64, q float64) float64 {
	if len(v) == 0 {
		return math.NaN()
	}
	s := slices.Sorted(slices.Values(v))
	at := q * float64(len(s)-1)
	i := int(at)
	if i+1 >= len(s) {
		return s[len(s)-1]
	}
	return s[i] + (at-float64(i))*(s[i+1]-s[i])
}

// spread returns half the distance between the quartiles of v, as a part of
// the median: half of all rounds lie about that near to it.
func spread(v []float64) float64 {
	m := median(v)
	if len(v) < 2 || m == 0 {
		return 0
	}
	return (quantile(v, 0.75) - quantile(v, 0.25)) / 2 / math.Abs(m)
}

// ratios returns a[i]/b[i] for the rounds that both have: what one round did
// to both it leaves out.
func ratios(a, b []float64) []float64 {
	r := make([]float64, 0, len(a))
	for i := range min(len(a), len(b)) {
		if b[i] != 0 {
			r = append(r, a[i]/b[i])
		}
	}
	return r
}
