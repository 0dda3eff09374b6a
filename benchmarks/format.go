package main

import (
	"fmt"
	"math"
	"strconv"
)

// three is v with three digits that count.
func three(v float64) string {
	if v == 0 || math.IsNaN(v) || math.IsInf(v, 0) {
		return fmt.Sprint(v)
	}
	digits := max(2-int(math.Floor(math.Log10(math.Abs(v)))), 0)
	scale := math.Pow(10, float64(2-int(math.Floor(math.Log10(math.Abs(v))))))
	return strconv.FormatFloat(math.Round(v*scale)/scale, 'f', digits, 64)
}

// formatTime is nanoseconds in the unit that reads best.
func formatTime(ns float64) string {
	switch {
	case math.IsNaN(ns):
		return "none"
	case ns < 1e3:
		return three(ns) + " ns"
	case ns < 1e6:
		return three(ns/1e3) + " us"
	case ns < 1e9:
		return three(ns/1e6) + " ms"
	}
	return three(ns/1e9) + " s"
}

func formatBytes(n float64) string {
	switch {
	case math.IsNaN(n):
		return "none"
	case n < 1<<10:
		return three(n) + " B"
	case n < 1<<20:
		return three(n/(1<<10)) + " KiB"
	case n < 1<<30:
		return three(n/(1<<20)) + " MiB"
	}
	return three(n/(1<<30)) + " GiB"
}

func formatRate(n float64) string { return three(n/1e6) + " million" }

// formatOf is how a figure is written.
func formatOf(f figure) func(float64) string {
	switch f {
	case figBytes, figAllocs:
		return three
	case figPeak:
		return formatTimes
	case figTotal, figAlloc:
		return formatBytes
	case figRate:
		return formatRate
	}
	return formatTime
}

// withSpread is the median of v and half its quartile distance in percent.
func withSpread(v []float64, format func(float64) string) string {
	if len(v) == 0 {
		return "left out"
	}
	s := format(median(v))
	if len(v) > 1 {
		s += fmt.Sprintf(" ±%.0f%%", 100*spread(v))
	}
	return s
}
